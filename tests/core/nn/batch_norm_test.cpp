#include "lockstep/core/nn/batch_norm.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>

#include "lockstep/core/base/error.h"
#include "tests/core/nn/batch_norm_reference.h"
#include "tests/core/nn/instruction_sets.h"

namespace lockstep {
namespace {

class BatchNormOf : public EachInstructionSet {};
INSTANTIATE_TEST_SUITE_P(EachInstructionSet, BatchNormOf, instruction_sets(), instruction_set_name);

void expect_equals_composition(at::IntArrayRef sizes,
                               at::ScalarType dtype,
                               at::MemoryFormat format) {
  for (const bool relu : {false, true}) {
    for (const bool residual : {false, true}) {
      SCOPED_TRACE(testing::Message() << sizes << " " << dtype << " " << format << " relu " << relu
                                      << " residual " << residual);
      const BatchNormCase given = random_case(sizes, dtype, format, relu, residual);
      const BatchNormOutcome ours = fused_outcome(given);
      EXPECT_EQ(ours.y.scalar_type(), dtype);
      EXPECT_EQ(ours.y.strides(), given.x.strides());
      expect_near(ours,
                  reference_outcome(given),
                  dtype == at::kBFloat16 ? kBf16Tolerance : kFloatTolerance);
    }
  }
}

TEST_P(BatchNormOf, EqualsTheUnfusedCompositionForAnyNumberOfChannels) {
  for (const int64_t channels : {1, 3, 7, 10, 16, 19, 32, 64, 100}) {
    for (const auto format : {kNchw, kNhwc}) {
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        expect_equals_composition({3, channels, 7, 9}, dtype, format);
      }
    }
  }
}

TEST_P(BatchNormOf, EqualsTheUnfusedCompositionForImagesOfOnePlace) {
  for (const auto format : {kNchw, kNhwc})
    expect_equals_composition({9, 20, 1, 1}, at::kFloat, format);
  expect_equals_composition({11, 35}, at::kFloat, kNchw);
  expect_equals_composition({11, 35}, at::kBFloat16, kNchw);
}

TEST_P(BatchNormOf, EqualsTheUnfusedCompositionOverManyBlocks) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    expect_equals_composition({8, 16, 33, 31}, dtype, kNhwc);
    expect_equals_composition({4, 144, 12, 11}, dtype, kNhwc);
    expect_equals_composition({2, 3, 103, 97}, dtype, kNchw);
  }
}

TEST_P(BatchNormOf, TakesAnyStrides) {
  BatchNormCase given = random_case({4, 18, 6, 10}, at::kFloat, kNchw, true, true);
  const BatchNormOutcome truth = reference_outcome(given);
  given.x = given.x.contiguous(kNhwc);
  expect_near(fused_outcome(given), truth, kFloatTolerance);  // residual and dy in another layout
  // Every second value of a wider tensor.
  given.x = at::empty({4, 18, 6, 20}).slice(3, 0, 20, 2).copy_(given.x);
  const at::Tensor x = given.x.detach().requires_grad_();
  const auto y = batch_norm_train({.x = x,
                                   .weight = given.weight,
                                   .bias = given.bias,
                                   .relu = true,
                                   .residual = given.residual})
                     .y[0];
  y.backward(given.dy);
  EXPECT_LT(difference(y, truth.y), kFloatTolerance);
  EXPECT_LT(difference(x.grad(), truth.dx), kFloatTolerance);
}

// x's channels in three parts, of which two are written into a wider tensor; gradients come from a
// wider tensor's slice, in rows of their own, and in another layout.
void expect_parts_equal_composition(at::IntArrayRef places, at::ScalarType dtype) {
  SCOPED_TRACE(testing::Message() << places << " " << dtype);
  const std::vector<int64_t> sizes{places[0], 40, places[1], places[2]};
  const BatchNormCase given = random_case(sizes, dtype, kNhwc, true, false);
  const at::Tensor wide =
      torch::full({places[0], 70, places[1], places[2]}, -7.0).to(dtype).contiguous(kNhwc);
  const at::Tensor x = leaf(given.x, dtype), weight = leaf(given.weight, at::kFloat),
                   bias = leaf(given.bias, at::kFloat);
  const auto made = batch_norm_train({.x = x, .weight = weight, .bias = bias, .relu = true},
                                     nullptr,
                                     {{.channels = 16, .into = wide.narrow(1, 3, 16)},
                                      {.channels = 5},
                                      {.channels = 19, .into = wide.narrow(1, 40, 19)}});
  at::Tensor wide_gradient =
      torch::zeros({places[0], 50, places[1], places[2]}).to(dtype).contiguous(kNhwc);
  wide_gradient.narrow(1, 9, 16).copy_(given.dy.narrow(1, 0, 16));
  torch::autograd::backward({made.y[0], made.y[1], made.y[2]},
                            {wide_gradient.narrow(1, 9, 16),
                             given.dy.narrow(1, 16, 5).contiguous(kNhwc),
                             given.dy.narrow(1, 21, 19).contiguous(kNchw)});
  expect_near({at::cat({made.y[0], made.y[1], made.y[2]}, 1).detach(),
               x.grad(),
               {},
               weight.grad(),
               bias.grad()},
              reference_outcome(given),
              dtype == at::kBFloat16 ? kBf16Tolerance : kFloatTolerance);
  EXPECT_TRUE(at::equal(wide.narrow(1, 3, 16), made.y[0]));
  EXPECT_TRUE(at::equal(wide.narrow(1, 40, 19), made.y[2]));
  for (const auto& [begin, count] : {std::pair{0, 3}, {19, 21}, {59, 11}})
    EXPECT_TRUE((wide.narrow(1, begin, count) == -7).all().item<bool>()) << "written beside a part";
}

TEST_P(BatchNormOf, PartsEqualTheUnfusedComposition) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::vector<int64_t>& places : std::vector<std::vector<int64_t>>{
             {3, 7, 9}, {8, 33, 31}, {6, 1, 1}, {1, 5, 4}, {4, 1, 6}}) {
      expect_parts_equal_composition(places, dtype);
    }
  }
}

TEST_P(BatchNormOf, PartsGiveTheSameOnSeveralThreads) {
  at::set_num_threads(3);
  expect_parts_equal_composition({7, 9, 8}, at::kFloat);
}

TEST_P(BatchNormOf, GivesTheSameOnSeveralThreads) {
  for (const auto format : {kNchw, kNhwc}) {
    const BatchNormCase given = random_case({7, 24, 9, 8}, at::kFloat, format, true, true);
    at::set_num_threads(3);
    expect_near(fused_outcome(given), reference_outcome(given), kFloatTolerance);
    at::set_num_threads(1);
  }
}

TEST_P(BatchNormOf, DoesNotCancelForALargeMean) {
  for (const auto format : {kNchw, kNhwc}) {
    BatchNormCase given = random_case({16, 20, 16, 16}, at::kFloat, format, false, false);
    given.x = given.x + 1e4;
    BatchNormResult result;
    const BatchNormOutcome ours = fused_outcome(given, nullptr, &result);
    const BatchNormOutcome truth = reference_outcome(given);
    const at::Tensor wide = given.x.to(at::kDouble);
    EXPECT_LT(difference(result.unbiased_variance, wide.var({0, 2, 3}, true)), 1e-6);
    EXPECT_LT(difference(result.mean, wide.mean({0, 2, 3})), 1e-7);
    EXPECT_LT(difference(ours.y, truth.y), 2e-3);  // two roundings of 1e4 to 24 bits
    EXPECT_LT(difference(ours.dx, truth.dx), 2e-4);
  }
}

TEST_P(BatchNormOf, OneValuePerChannelGivesTheBiasAndNoVariance) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const BatchNormCase given = random_case({1, 21, 1, 1}, dtype, kNchw, false, false);
    BatchNormResult result;
    const BatchNormOutcome ours = fused_outcome(given, nullptr, &result);
    EXPECT_TRUE(at::allclose(ours.y.to(at::kFloat).flatten(), given.bias, 0x1p-8, 1e-3));
    EXPECT_EQ(result.unbiased_variance.abs().max().item<float>(), 0.0f);
    EXPECT_EQ(result.has_variance.item<float>(), 0.0f);
    EXPECT_LT(ours.dx.abs().max().item<float>(), 1e-2);
  }
}

TEST_P(BatchNormOf, ReportsNotANumber) {
  for (const bool residual : {false, true}) {
    BatchNormCase given = random_case({4, 19, 3, 3}, at::kBFloat16, kNhwc, true, residual);
    given.x[1][18][0][0] = std::numeric_limits<float>::quiet_NaN();
    given.x[1][2][0][0] = std::numeric_limits<float>::quiet_NaN();
    const BatchNormOutcome ours = fused_outcome(given);
    for (const int64_t channel : {2, 18}) {
      EXPECT_TRUE(ours.y.select(1, channel).isnan().all().item<bool>());
      EXPECT_TRUE(ours.dx.select(1, channel).isnan().any().item<bool>());
    }
    EXPECT_FALSE(ours.y.select(1, 3).isnan().any().item<bool>());
  }
}

TEST_P(BatchNormOf, EvaluationUsesTheRunningStatistics) {
  for (const auto format : {kNchw, kNhwc}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const BatchNormCase given = random_case({3, 21, 5, 7}, dtype, format, true, true);
      const at::Tensor mean = torch::randn({21}), variance = torch::rand({21}) + 0.1;
      const auto wide = [](const at::Tensor& tensor) { return tensor.to(at::kDouble); };
      const at::Tensor truth = (torch::batch_norm(wide(given.x),
                                                  wide(given.weight),
                                                  wide(given.bias),
                                                  wide(mean),
                                                  wide(variance),
                                                  false,
                                                  0.1,
                                                  1e-5,
                                                  false) +
                                wide(given.residual))
                                   .relu();
      const at::Tensor y = batch_norm_eval({.x = given.x,
                                            .weight = given.weight,
                                            .bias = given.bias,
                                            .relu = true,
                                            .residual = given.residual},
                                           mean,
                                           variance);
      EXPECT_LT(difference(y, truth), dtype == at::kFloat ? kFloatTolerance : kBf16Tolerance);
    }
  }
}

TEST(BatchNorm, EvaluationPassesGradientsWhereTheyAreWanted) {
  const at::Tensor x = torch::randn({2, 4, 3, 3}).requires_grad_(), ones = torch::ones({4});
  const at::Tensor variance = torch::full({4}, 4.0);
  const at::Tensor y =
      batch_norm_eval({.x = x, .weight = ones, .bias = torch::zeros({4}), .epsilon = 0.0},
                      torch::zeros({4}),
                      variance);
  y.sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), at::full_like(x, 0.5)));
}

TEST(BatchNorm, EvaluationPassesGradientsToABiasAlone) {
  const at::Tensor x = torch::randn({2, 4, 3, 3}), ones = torch::ones({4});
  const at::Tensor bias = torch::zeros({4}).requires_grad_();
  const at::Tensor y = batch_norm_eval(
      {.x = x, .weight = ones, .bias = bias, .epsilon = 0.0}, torch::zeros({4}), ones);
  ASSERT_TRUE(y.requires_grad());
  y.sum().backward();
  EXPECT_TRUE(at::equal(bias.grad(), torch::full({4}, 18.0f)));
}

TEST(BatchNorm, RefusesASecondDerivative) {
  const at::Tensor x = torch::randn({2, 4, 3, 3}).requires_grad_();
  const BatchNormResult result = batch_norm_train(
      {.x = x, .weight = torch::ones({4}), .bias = torch::zeros({4}), .relu = true});
  try {
    torch::autograd::grad({result.y[0].square().sum()},
                          {x},
                          /*grad_outputs=*/{},
                          /*retain_graph=*/true,
                          /*create_graph=*/true);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("batch_norm has no second derivative"),
              std::string::npos)
        << error.what();
  }
}

TEST(BatchNorm, LayerKeepsRunningStatisticsAsPyTorchDoes) {
  torch::manual_seed(2);
  BatchNorm ours(6);
  torch::nn::BatchNorm2d theirs(6);
  StepContext context;
  context.training = true;
  for (int step = 0; step < 4; ++step) {
    const at::Tensor x = torch::randn({3, 6, 4, 5}) * (step + 1) + step;
    EXPECT_LT(difference(ours.forward(x, context), theirs->forward(x)), 1e-5);
  }
  EXPECT_LT(difference(ours.running_mean, theirs->running_mean), 1e-6);
  EXPECT_LT(difference(ours.running_var, theirs->running_var), 1e-6);
  EXPECT_EQ(ours.num_batches_tracked.item<int64_t>(), 4);
  context.training = false;
  theirs->eval();
  const at::Tensor x = torch::randn({2, 6, 4, 5});
  EXPECT_LT(difference(ours.forward(x, context), theirs->forward(x)), 1e-5);
  for (const auto& parameter : theirs->named_parameters()) {
    EXPECT_TRUE(ours.named_parameters().contains(parameter.key()));
  }
  for (const auto& buffer : theirs->named_buffers()) {
    EXPECT_TRUE(ours.named_buffers().contains(buffer.key()));
  }
}

TEST(BatchNorm, OneValuePerChannelLeavesTheRunningVarianceAlone) {
  BatchNorm layer(5);
  StepContext context;
  context.training = true;
  const at::Tensor x = torch::full({1, 5, 1, 1}, 3.0);
  layer.forward(x, context);
  EXPECT_TRUE(at::allclose(layer.running_mean, torch::full({5}, 0.3)));
  EXPECT_TRUE(at::equal(layer.running_var, torch::ones({5})));
}

}  // namespace
}  // namespace lockstep
