#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <set>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/initialisation.h"
#include "lockstep/core/nn/image_classifier.h"

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

class WithGroupNorm : public torch::nn::Module {
 public:
  WithGroupNorm() {
    register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3)));
    register_module("norm", torch::nn::GroupNorm(2, 8));
  }
};

TEST(Initialisation, RefusesByNameWhatItDoesNotKnow) {
  struct Outer : torch::nn::Module {
    Outer() { register_module("body", std::make_shared<WithGroupNorm>()); }
  } outer;
  try {
    initialise(outer, 1);
    FAIL() << "parameters of an unknown module kept the numbers of LibTorch's generator";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
    EXPECT_THAT(error.what(), testing::StartsWith("body.norm is a torch::nn::GroupNormImpl"));
    EXPECT_THAT(error.what(), testing::HasSubstr("(weight, bias)"));
  }
}

// A class of its own, which also knows what to do with its child.
class Scaled : public WithGroupNorm, public InitialisesItself {
 public:
  Scaled() { scale = register_parameter("scale", torch::rand({5, 7})); }
  void initialise(InitialValues& values) override {
    values.uniform(scale, 0.5);
    const auto children = named_children();
    values.module(*children["conv"], "conv");
    for (at::Tensor& parameter : children["norm"]->parameters()) parameter.fill_(1);
  }
  at::Tensor scale;
};

TEST(Initialisation, AModuleMayInitialiseItself) {
  const auto first = std::make_shared<Scaled>(), second = std::make_shared<Scaled>();
  initialise(*first, 3);
  initialise(*second, 3);
  for (const auto& parameter : first->named_parameters())
    EXPECT_TRUE(at::equal(parameter.value(), second->named_parameters()[parameter.key()]))
        << parameter.key();
  EXPECT_LE(first->scale.abs().max().item<double>(), 0.5);
  EXPECT_GT(first->scale.std().item<double>(), 0.2);  // 0.5 / sqrt 3 = 0.29
  // The convolution's numbers come from another stream than the scale's.
  const at::Tensor conv = first->named_parameters()["conv.weight"].flatten().slice(0, 0, 35);
  EXPECT_LT(at::corrcoef(at::stack({conv, first->scale.flatten()}))[0][1].item<double>(), 0.7);
  initialise(*second, 4);
  EXPECT_FALSE(at::equal(first->scale, second->scale));
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
