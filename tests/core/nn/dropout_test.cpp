#include "lockstep/core/nn/dropout.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace lockstep {
namespace {

StepContext training(uint64_t seed = 1, int64_t step = 0, int64_t first_position = 0) {
  StepContext context;
  context.training = true;
  context.seed = seed;
  context.step = step;
  context.first_position = first_position;
  return context;
}

TEST(Dropout, DoesNothingInEvaluationOrAtRateZero) {
  const at::Tensor x = torch::randn({3, 5});
  EXPECT_TRUE(dropout(x, 0.5, 0, StepContext{}).is_same(x));
  EXPECT_TRUE(dropout(x, 0.0, 0, training()).is_same(x));
}

TEST(Dropout, ScalesWhatItKeeps) {
  for (const auto dtype : {torch::kFloat, torch::kBFloat16}) {
    const at::Tensor x = torch::randn({8, 100}).to(dtype), y = dropout(x, 0.3, 0, training());
    const at::Tensor mask = dropout_mask(x, 0.3, 0, training());
    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_TRUE(torch::equal(y == 0, mask == 0));
    EXPECT_TRUE(torch::allclose(y, (x.to(torch::kDouble) / 0.7 * mask).to(dtype), 1e-6, 0));
  }
}

TEST(Dropout, DropsAtItsRate) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    const at::Tensor mask = dropout_mask(torch::empty({100, 10007}), rate, 0, training());
    const double error = std::sqrt(rate * (1 - rate) / static_cast<double>(mask.numel()));
    EXPECT_NEAR(1 - mask.mean().item<double>(), rate, 4 * error);
  }
}

// What one rank computes for the whole batch, several compute for their slices.
TEST(Dropout, SlicesOfTheBatchGetTheSameMask) {
  const at::Tensor x = torch::empty({10, 3, 7, 5});
  const at::Tensor whole = dropout_mask(x, 0.5, 2, training(7, 40));
  for (const int64_t cut : {1, 4, 10}) {
    const at::Tensor parts =
        torch::cat({dropout_mask(x.narrow(0, 0, cut), 0.5, 2, training(7, 40)),
                    dropout_mask(x.narrow(0, cut, 10 - cut), 0.5, 2, training(7, 40, cut))});
    EXPECT_TRUE(torch::equal(parts, whole)) << cut;
  }
  // Nor does the memory layout matter.
  const at::Tensor channels_last = x.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(torch::equal(dropout_mask(channels_last, 0.5, 2, training(7, 40)), whole));
}

TEST(Dropout, EverythingThatNamesAMaskChangesIt) {
  const at::Tensor x = torch::empty({64, 1000});
  const at::Tensor mask = dropout_mask(x, 0.5, 0, training());
  for (const at::Tensor& other : {dropout_mask(x, 0.5, 1, training()),
                                  dropout_mask(x, 0.5, 0, training(2)),
                                  dropout_mask(x, 0.5, 0, training(1, 1)),
                                  dropout_mask(x, 0.5, 0, training(1, 0, 64))}) {
    EXPECT_NEAR((mask == other).to(torch::kFloat).mean().item<double>(), 0.5, 0.01);
  }
}

TEST(Dropout, GradientFlowsThroughWhatWasKept) {
  const at::Tensor x = torch::randn({4, 50}, torch::requires_grad());
  dropout(x, 0.5, 0, training()).sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), 2 * dropout_mask(x, 0.5, 0, training())));
}

TEST(Dropout, TakesAnEmptySlice) {
  EXPECT_EQ(dropout(torch::empty({0, 5}), 0.5, 0, training()).sizes(), at::IntArrayRef({0, 5}));
}

}  // namespace
}  // namespace lockstep
