// What CUDA threads compute of a random mask, computed here thread by thread.
#include "lockstep/core/random/dropout_draws.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lockstep/core/nn/dropout.h"

namespace lockstep {
namespace {

constexpr double kRate = 0.3;
constexpr uint32_t kLayer = 3;

struct Case {
  int64_t samples, elements, first_position;
};

// Sizes around multiples of the four elements of a draw, stochastic depth's [N, 1], empty masks,
// and positions up to the largest.
const Case kCases[] = {{1, 1, 0},
                       {5, 3, 0},
                       {3, 4, 13},
                       {2, 5, 1},
                       {7, 1023, 100},
                       {2, 105, 7},
                       {300, 1, 33},
                       {4, 64, 0xfffffffc},
                       {0, 5, 2},
                       {4, 0, 2}};

StepContext context_at(int64_t first_position) {
  StepContext context;
  context.training = true;
  context.seed = (uint64_t{9} << 32) + 5;
  context.step = 40;
  context.first_position = first_position;
  return context;
}

at::Tensor mask_of(const Case& size, at::ScalarType dtype) {
  return random_mask({size.samples, size.elements},
                     at::TensorOptions(dtype),
                     {RandomUse::kDropout, kLayer, kRate},
                     context_at(size.first_position));
}

MaskDraws draws_of(const Case& size) {
  const StepContext context = context_at(size.first_position);
  return {.random = Philox(context.seed, RandomUse::kDropout),
          .threshold = static_cast<uint64_t>(std::llround(std::ldexp(kRate, 32))),
          .first_position = static_cast<uint32_t>(size.first_position),
          .step = static_cast<uint32_t>(context.step),
          .layer = kLayer,
          .samples = size.samples,
          .elements = size.elements};
}

TEST(RandomMask, ComparesTheWordThatAnElementsPlaceNamesWithTheRate) {
  for (const Case& size : kCases) {
    const at::Tensor mask = mask_of(size, at::kFloat);
    const StepContext context = context_at(size.first_position);
    const Philox random(context.seed, RandomUse::kDropout);
    for (int64_t sample = 0; sample < size.samples; ++sample) {
      for (int64_t i = 0; i < size.elements; ++i) {
        const auto words = random(static_cast<uint32_t>(i / 4),
                                  static_cast<uint32_t>(size.first_position + sample),
                                  static_cast<uint32_t>(context.step),
                                  kLayer);
        const bool keep = words[static_cast<size_t>(i % 4)] >= kRate * std::ldexp(1.0, 32);
        ASSERT_EQ(mask[sample][i].item<float>(), keep ? 1.0f : 0.0f) << sample << ' ' << i;
      }
    }
  }
}

// Every thread writes into memory of its own, so that elements written twice or outside are seen.
template <typename T>
std::vector<T> assembled_by_threads(const Case& size, int64_t num_threads, T one) {
  constexpr T kUntouched = 7;
  const auto numel = static_cast<size_t>(size.samples * size.elements);
  constexpr size_t kMargin = 4;
  std::vector<T> mask(numel, kUntouched);
  for (int64_t thread = 0; thread < num_threads; ++thread) {
    std::vector<T> own(numel + 2 * kMargin, kUntouched);
    draws_of(size).write_share(thread, num_threads, one, own.data() + kMargin);
    for (size_t i = 0; i < own.size(); ++i) {
      if (own[i] == kUntouched) continue;
      const bool inside = i >= kMargin && i < kMargin + numel;
      EXPECT_TRUE(inside) << "thread " << thread << " wrote outside the mask";
      if (!inside) continue;
      EXPECT_EQ(mask[i - kMargin], kUntouched) << "element written twice: " << i - kMargin;
      mask[i - kMargin] = own[i];
    }
  }
  EXPECT_EQ(std::count(mask.begin(), mask.end(), kUntouched), 0);
  return mask;
}

template <typename T>
void expect_equal(const std::vector<T>& actual, const at::Tensor& expected) {
  ASSERT_EQ(static_cast<int64_t>(actual.size()), expected.numel());
  const auto* bits = static_cast<const T*>(expected.const_data_ptr());
  EXPECT_TRUE(std::equal(actual.begin(), actual.end(), bits));
}

TEST(MaskDraws, AnyNumberOfThreadsWritesTheHostsMaskOnce) {
  for (const Case& size : kCases) {
    for (const int64_t num_threads : {1, 2, 3, 7, 256}) {
      SCOPED_TRACE(testing::Message() << size.samples << " x " << size.elements << " by "
                                      << num_threads << " threads");
      expect_equal(assembled_by_threads(size, num_threads, 1.0f), mask_of(size, at::kFloat));
      // bfloat16's bits.
      expect_equal(assembled_by_threads(size, num_threads, uint16_t{0x3F80}),
                   mask_of(size, at::kBFloat16));
    }
  }
}

TEST(MaskDraws, ThresholdsAtTheEndsKeepAllAndNothing) {
  for (const auto& [threshold, expected] :
       {std::pair{uint64_t{0}, 1}, std::pair{uint64_t{1} << 32, 0}}) {
    MaskDraws draws = draws_of({5, 103, 0});
    draws.threshold = threshold;
    std::vector<int> mask(5 * 103, 7);
    draws.write_share(0, 1, 1, mask.data());
    EXPECT_EQ(std::count(mask.begin(), mask.end(), expected), 5 * 103);
  }
}

}  // namespace
}  // namespace lockstep
