#include "lockstep/core/training/state_digests.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <random>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

std::vector<int64_t> numbers(const StateDigests& digests) {
  const at::Tensor made = digests.compute();
  return {made.const_data_ptr<int64_t>(), made.const_data_ptr<int64_t>() + made.numel()};
}

TEST(StateDigests, EqualMemoryHasEqualDigests) {
  const at::Tensor a = torch::randn({3, 5, 2, 2});
  const StateDigests digests({{"a", a},
                              {"copy", a.clone()},
                              {"channels last", a.contiguous(at::MemoryFormat::ChannelsLast)},
                              {"part", a.view(-1).narrow(0, 7, 20)},
                              {"count", torch::ones({}, at::kLong)},
                              {"none", torch::empty({0})}});
  const auto found = numbers(digests);
  EXPECT_EQ(found[0], found[1]);
  EXPECT_NE(found[0], found[2]);  // other memory
  EXPECT_NE(found[0], found[3]);
  EXPECT_EQ(found[5], 0);
  EXPECT_EQ(numbers(digests), found);
}

TEST(StateDigests, EveryBitCountsAtItsPlace) {
  const at::Tensor a = torch::randn({1000});
  const StateDigests digests(
      {{"before", torch::randn({8})}, {"a", a}, {"behind", torch::ones({3})}});
  const auto original = numbers(digests);
  auto* words = static_cast<uint32_t*>(a.mutable_data_ptr());
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    const size_t place = random() % 1000;
    const uint32_t bit = uint32_t{1} << random() % 32;
    words[place] ^= bit;
    const auto changed = numbers(digests);
    EXPECT_NE(changed[1], original[1]);
    EXPECT_EQ(changed[0], original[0]);
    EXPECT_EQ(changed[2], original[2]);
    words[place] ^= bit;
  }
  std::swap(words[3], words[4]);
  EXPECT_NE(numbers(digests), original);
  std::swap(words[3], words[4]);
  EXPECT_EQ(numbers(digests), original);
}

TEST(StateDigests, RefuseMemoryWithHoles) {
  EXPECT_THROW(StateDigests({{"a", torch::randn({4, 4}).slice(1, 0, 2)}}), Error);
  EXPECT_THROW(StateDigests({{"a", torch::ones({3}, at::kBFloat16)}}), Error);
}

}  // namespace
}  // namespace lockstep
