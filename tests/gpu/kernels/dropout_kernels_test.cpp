// The CUDA kernel of random masks, emulated, against the draws themselves, one call of Philox for
// each element.
#include <gtest/gtest.h>

#include <cmath>

#include "lockstep/core/kernels/dropout_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

MaskDraws draws_of(int64_t samples, int64_t elements, double rate, uint32_t first_position) {
  return {.random = Philox(0x123456789ABCDEF, RandomUse::kDropout),
          .threshold = static_cast<uint64_t>(std::llround(std::ldexp(rate, 32))),
          .first_position = first_position,
          .step = 40,
          .layer = 2,
          .samples = samples,
          .elements = elements};
}

void expect_right(const MaskDraws& draws, bool bf16, size_t shift) {
  SCOPED_TRACE(testing::Message() << draws.samples << " x " << draws.elements << " dropping below "
                                  << draws.threshold << (bf16 ? " bf16" : " fp32") << " shift "
                                  << shift);
  const Numbers mask(bf16, static_cast<size_t>(draws.samples * draws.elements), shift);
  // The step is given with the launch, or read on the device.
  MaskDraws given = draws;
  const GuardedMemory<int> step(1);
  step[0] = static_cast<int>(draws.step);
  if (shift != 0) given.step = 7;
  kernels::cuda::random_mask(given, shift != 0 ? step.data() : nullptr, bf16, mask.data(), nullptr);
  size_t i = 0;
  for (int64_t sample = 0; sample < draws.samples; ++sample) {
    for (int64_t element = 0; element < draws.elements; ++element, ++i) {
      const auto words = draws.random(static_cast<uint32_t>(element / 4),
                                      draws.first_position + static_cast<uint32_t>(sample),
                                      draws.step,
                                      draws.layer);
      const bool kept = words[static_cast<size_t>(element % 4)] >= draws.threshold;
      ASSERT_EQ(mask[i], kept ? 1.0 : 0.0) << "sample " << sample << " element " << element;
    }
  }
}

TEST(DropoutKernels, MasksAreTheDrawsForAnyShape) {
  for (const int64_t samples : {0, 1, 2, 3, 7, 64, 300}) {
    for (const int64_t elements : {0, 1, 2, 3, 4, 5, 7, 8, 255, 256, 1023, 1024}) {
      for (const double rate : {0.0, 0.3, 0.9999999999}) {
        for (const bool bf16 : {false, true})
          expect_right(draws_of(samples, elements, rate, 13), bf16, samples % 2 == 0 ? 0 : 1);
      }
    }
  }
}

// More draws than threads of the largest launch; positions that wrap.
TEST(DropoutKernels, MasksAreTheDrawsWhereThreadsLoop) {
  expect_right(draws_of(1100, 4099, 0.3, 0), true, 1);
  expect_right(draws_of(2, 9, 0.3, 0xFFFFFFFF), false, 0);
}

}  // namespace
}  // namespace lockstep::test
