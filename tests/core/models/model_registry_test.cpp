#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <set>
#include <string>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

TEST(ModelRegistry, MakesEveryRegisteredModel) {
  std::set<std::string> names;
  for (const ModelEntry& entry : registered_models()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    const auto model = make_model(entry.name, {.num_classes = 7, .head = ModelHead::kCompact}, 1);
    EXPECT_FALSE(model->parameters().empty());
  }
}

TEST(ModelRegistry, SuggestsTheNearestName) {
  try {
    make_model("resnet21", {}, 1);
    FAIL() << "an unknown model was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("'resnet21'"));
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'resnet20'"));
  }
}

TEST(ModelRegistry, TheSeedAloneDecidesTheWeights) {
  const auto first = make_model("resnet20", {}, 5);
  torch::rand({3});  // LibTorch's own generator has no say
  const auto second = make_model("resnet20", {}, 5), other = make_model("resnet20", {}, 6);
  for (const auto& parameter : first->named_parameters()) {
    EXPECT_TRUE(at::equal(parameter.value(), second->named_parameters()[parameter.key()]));
  }
  EXPECT_FALSE(at::equal(first->named_parameters()["conv1.weight"],
                         other->named_parameters()["conv1.weight"]));
}

TEST(ModelRegistry, NoTwoParametersShareTheirNumbers) {
  const auto weights = make_model("resnet20", {}, 5)->named_parameters();
  const at::Tensor a = weights["layer1.0.conv1.weight"], b = weights["layer1.0.conv2.weight"];
  const double correlation =
      at::corrcoef(at::stack({a.flatten(), b.flatten()}))[0][1].item<double>();
  EXPECT_LT(std::abs(correlation), 0.08);  // 2304 values: 4 standard errors
}

TEST(ModelRegistry, InitialisesAsThePapersSay) {
  const auto model = make_model("resnet18", {}, 5);
  const auto weights = model->named_parameters();
  const at::Tensor conv = weights["layer4.1.conv2.weight"];  // 512 x 512 x 3 x 3, fan-out 4608
  const double deviation = std::sqrt(2.0 / 4608);
  EXPECT_NEAR(conv.std().item<double>() / deviation, 1.0, 2e-3);
  EXPECT_NEAR(conv.mean().item<double>() / deviation, 0.0, 3e-3);
  // The normal distribution's share within one and two standard deviations.
  EXPECT_NEAR((conv.abs() < deviation).to(at::kFloat).mean().item<double>(), 0.6827, 2e-3);
  EXPECT_NEAR((conv.abs() < 2 * deviation).to(at::kFloat).mean().item<double>(), 0.9545, 1e-3);
  const double bound = 1 / std::sqrt(512.0);
  for (const char* name : {"fc.weight", "fc.bias"})
    EXPECT_LE(weights[name].abs().max().item<double>(), bound);
  EXPECT_NEAR(weights["fc.weight"].std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
  EXPECT_TRUE(at::equal(weights["bn1.weight"], torch::ones({64})));
  EXPECT_TRUE(at::equal(weights["bn1.bias"], torch::zeros({64})));
}

}  // namespace
}  // namespace lockstep
