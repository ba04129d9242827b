#include "lockstep/core/nn/stochastic_depth.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/dropout.h"

namespace lockstep {
namespace {

StepContext training(int64_t step = 0, int64_t first_position = 0) {
  StepContext context;
  context.training = true;
  context.seed = 1;
  context.step = step;
  context.first_position = first_position;
  return context;
}

TEST(StochasticDepth, RisesLinearlyToTheLastBlock) {
  // Huang et al. 2016, figure 2: 54 blocks, survival 0.5 at the last.
  EXPECT_DOUBLE_EQ(stochastic_depth_rate(0.5, 53, 54), 0.5);
  EXPECT_DOUBLE_EQ(stochastic_depth_rate(0.5, 0, 54), 0.5 / 54);
  EXPECT_DOUBLE_EQ(stochastic_depth_rate(0.5, 26, 54), 0.25);
}

TEST(StochasticDepth, KeepsOrDropsWholeSamplesAtItsRate) {
  const at::Tensor x = torch::ones({20000, 2, 3, 1});
  const at::Tensor y = stochastic_depth(x, 0.3, 4, training());
  const at::Tensor first = y.select(1, 0).select(1, 0).select(1, 0).view({-1, 1, 1, 1});
  EXPECT_TRUE(torch::equal(y, first.expand_as(y)));
  EXPECT_TRUE(torch::all((first == 0) | (first - 1 / 0.7).abs().lt(1e-6)).item<bool>());
  const double dropped = first.eq(0).to(torch::kDouble).mean().item<double>();
  EXPECT_NEAR(dropped, 0.3, 4 * std::sqrt(0.3 * 0.7 / 20000));
  EXPECT_TRUE(stochastic_depth(x, 0.3, 4, StepContext{}).is_same(x));
  EXPECT_TRUE(stochastic_depth(x, 0.0, 4, training()).is_same(x));
}

TEST(StochasticDepth, SlicesOfTheBatchDropTheSameSamples) {
  const at::Tensor x = torch::randn({10, 3, 2, 2});
  const at::Tensor whole = stochastic_depth(x, 0.5, 1, training(40));
  for (const int64_t cut : {0, 3, 10}) {
    const at::Tensor parts =
        torch::cat({stochastic_depth(x.narrow(0, 0, cut), 0.5, 1, training(40)),
                    stochastic_depth(x.narrow(0, cut, 10 - cut), 0.5, 1, training(40, cut))});
    EXPECT_TRUE(torch::equal(parts, whole)) << cut;
  }
}

TEST(StochasticDepth, DrawsAnewForEachBlockStepAndFromDropout) {
  const at::Tensor x = torch::ones({1000, 1});
  const at::Tensor y = stochastic_depth(x, 0.5, 0, training());
  EXPECT_FALSE(torch::equal(stochastic_depth(x, 0.5, 1, training()), y));
  EXPECT_FALSE(torch::equal(stochastic_depth(x, 0.5, 0, training(1)), y));
  EXPECT_FALSE(torch::equal(dropout(x, 0.5, 0, training()), y));
}

// A ResNet-20 whose branches are all 0 but for the last block's, which its norm scales by `scale`.
std::shared_ptr<ImageClassifier> with_last_branch(double scale, double rate) {
  const auto model = make_model("resnet20", ModelOptions{.stochastic_depth = rate}, 1);
  const at::NoGradGuard no_grad;
  for (auto& item : model->named_parameters()) {
    if (item.key().ends_with("bn2.weight")) item.value().zero_();
    if (item.key() == "layer3.2.bn2.weight") item.value().fill_(scale);
  }
  return model;
}

TEST(StochasticDepth, BlocksAddTheScaledBranchToTheShortcutBeforeTheReLU) {
  const at::Tensor images = torch::randn({16, 3, 32, 32});
  const auto logits = [&](double scale, double rate, const StepContext& context) {
    return with_last_branch(scale, rate)->forward(images, context).logits;
  };
  const at::Tensor y = logits(1, 0.5, training(7));
  const at::Tensor kept = logits(2, 0, training(7)), dropped = logits(0, 0, training(7));
  const at::Tensor is_kept = stochastic_depth(torch::ones({16, 1}), 0.5, 8, training(7)).ne(0);
  EXPECT_TRUE(torch::allclose(y, torch::where(is_kept, kept, dropped), 1e-5, 1e-5));
  EXPECT_FALSE(torch::allclose(kept, dropped, 1e-2, 1e-2));
  EXPECT_GT(is_kept.sum().item<int64_t>(), 0);
  EXPECT_LT(is_kept.sum().item<int64_t>(), 16);
  // Not in evaluation.
  EXPECT_TRUE(torch::equal(logits(1, 0.5, StepContext{}), logits(1, 0, StepContext{})));
}

TEST(StochasticDepth, IsRefusedByModelsWithoutResidualBlocks) {
  for (const char* name : {"vgg11_bn", "googlenet"}) {
    try {
      make_model(name, ModelOptions{.stochastic_depth = 0.2}, 1);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_NE(std::string(error.what()).find("model.stochastic_depth"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace lockstep
