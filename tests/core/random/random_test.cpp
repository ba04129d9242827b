#include "lockstep/core/random/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

namespace lockstep {
namespace {

using Words = std::array<uint32_t, 4>;

struct KnownAnswer {
  std::array<uint32_t, 2> key;
  Words counter;
  Words result;
};

// philox4x32-10 in the file kat_vectors of Random123, the library of Salmon et al. 2011.
const KnownAnswer kKnownAnswers[] = {
    {{0, 0}, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0xa4093822, 0x299f31d0},
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  for (const KnownAnswer& known : kKnownAnswers) {
    Philox philox(0, RandomUse::kSplit);
    philox.key = known.key;
    const Words& c = known.counter;
    EXPECT_EQ(philox(c[0], c[1], c[2], c[3]), known.result);
  }
}

TEST(Philox, GivesEverySeedAndUseAStreamOfItsOwn) {
  const std::vector<uint64_t> seeds{0, 1, 2, 0xffffffff, uint64_t{1} << 32, ~uint64_t{0}};
  const RandomUse uses[] = {RandomUse::kInitialisation,
                            RandomUse::kSplit,
                            RandomUse::kPermutation,
                            RandomUse::kAugmentation,
                            RandomUse::kDropout,
                            RandomUse::kSynthetic,
                            RandomUse::kMixing,
                            RandomUse::kStochasticDepth};
  std::vector<Words> results;
  for (const uint64_t seed : seeds) {
    for (const RandomUse use : uses) results.push_back(Philox(seed, use)(7));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(results[i], results[j]) << i << ' ' << j;
  }
}

TEST(Bounded, StaysBelowItsBoundAndReachesBothEnds) {
  for (const uint32_t bound : {1u, 2u, 9u, 50000u, 0x80000000u}) {
    EXPECT_EQ(bounded(0, bound), 0u);
    EXPECT_EQ(bounded(0xffffffff, bound), bound - 1);
  }
}

TEST(Bounded, IsUniform) {
  // Chi-squared over 9 cells, 8 degrees of freedom: 26.1 is the 0.1 % point.
  constexpr int kDraws = 90000;
  const Philox philox(1, RandomUse::kAugmentation);
  std::array<int, 9> counts{};
  for (uint32_t i = 0; i < kDraws / 4; ++i) {
    for (const uint32_t value : philox(i)) ++counts[bounded(value, 9)];
  }
  double chi_squared = 0.0;
  for (const int count : counts) {
    const double difference = count - kDraws / 9.0;
    chi_squared += difference * difference / (kDraws / 9.0);
  }
  EXPECT_LT(chi_squared, 26.1);
}

}  // namespace
}  // namespace lockstep
