#include "lockstep/core/training/frozen_parameters.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <set>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/batch_norm_state.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/optimizer.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

std::set<std::string> frozen_names(const std::string& model_name, const std::string& names) {
  const auto model = make_model(model_name, {.head = ModelHead::kCompact}, 1);
  const int64_t count = freeze_parameters(*model, names);
  std::set<std::string> found;
  int64_t elements = 0;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad()) continue;
    found.insert(item.key());
    elements += item.value().numel();
  }
  EXPECT_EQ(count, elements);
  return found;
}

std::string refusal(const std::string& names) {
  const auto model = make_model("resnet20", {}, 1);
  try {
    freeze_parameters(*model, names);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return {};
}

TEST(FrozenParameters, ANameCoversWhatLiesBelowItAndNothingElse) {
  EXPECT_EQ(frozen_names("resnet20", "layer1.0").size(), 6u);  // two convolutions, two norms
  EXPECT_EQ(frozen_names("resnet20", "layer1.0.bn1, conv1").size(), 3u);
}

TEST(FrozenParameters, ANameIsNoNameThatBeginsAlike) {
  const auto names = frozen_names("vgg11_bn", "features.1");
  EXPECT_EQ(names, (std::set<std::string>{"features.1.weight", "features.1.bias"}));
}

TEST(FrozenParameters, TheBackboneIsAllButLastLayersAndAuxiliaryHeads) {
  const auto model = make_model("googlenet_bn", {}, 1);
  freeze_parameters(*model, "backbone");
  for (const auto& item : model->named_parameters()) {
    const bool head = item.key().starts_with("fc.") || item.key().starts_with("aux");
    EXPECT_EQ(item.value().requires_grad(), head) << item.key();
  }
}

TEST(FrozenParameters, RefusesWhatMatchesNothing) {
  EXPECT_THAT(refusal("conv1,leyer2"), HasSubstr("'leyer2'"));
  EXPECT_THAT(refusal("conv1,leyer2"), HasSubstr("did you mean 'layer2'?"));
  EXPECT_THAT(refusal("layer"), HasSubstr("'layer'"));
  EXPECT_THAT(refusal("conv1,,fc"), HasSubstr("name missing"));
  EXPECT_THAT(refusal("conv1,"), HasSubstr("name missing"));
}

TEST(FrozenParameters, RefusesToLeaveNothingToTrain) {
  EXPECT_THAT(refusal("conv1,bn1,layer1,layer2,layer3,fc"), HasSubstr("whole model"));
}

TEST(FrozenParameters, FrozenNormsEvaluateInTraining) {
  const auto model = make_model("resnet20", {}, 1);
  torch::manual_seed(1);
  for (auto& item : model->named_buffers()) {
    if (item.key().ends_with("running_mean")) item.value().normal_();
    if (item.key().ends_with("running_var")) item.value().uniform_(0.5, 2.0);
  }
  freeze_parameters(*model, "backbone");
  std::map<std::string, at::Tensor> before;
  for (const auto& item : model->named_buffers()) before[item.key()] = item.value().clone();
  BatchNormState state(*model);
  EXPECT_EQ(state.contribution_size(), 0);
  StepContext training;
  training.training = true;
  const at::Tensor images = torch::randn({4, 3, 32, 32});
  const at::Tensor trained = model->forward(images, training).logits;
  state.update();
  EXPECT_TRUE(torch::allclose(trained, model->forward(images, {}).logits, 1e-5, 1e-5));
  for (const auto& item : model->named_buffers())
    EXPECT_TRUE(torch::equal(item.value(), before[item.key()])) << item.key();
}

// A trained layer before a frozen norm: gradients pass through the running statistics, as through
// PyTorch's norm in evaluation.
TEST(FrozenParameters, GradientsPassThroughFrozenNorms) {
  torch::manual_seed(2);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    BatchNorm norm(5);
    norm.running_mean.normal_();
    norm.running_var.uniform_(0.5, 2.0);
    for (const at::Tensor& parameter : norm.parameters()) {
      const at::NoGradGuard no_grad;
      parameter.normal_();
      parameter.set_requires_grad(false);
    }
    norm.freeze();
    StepContext training;
    training.training = true;
    const at::Tensor x = torch::randn({3, 5, 4, 4}).to(dtype).set_requires_grad(true);
    norm.forward(x, training, {.relu = true}).to(at::kFloat).square().sum().backward();
    const at::Tensor same = x.detach().to(at::kDouble).set_requires_grad(true);
    const auto as_double = [](const at::Tensor& t) { return t.detach().to(at::kDouble); };
    at::batch_norm(same,
                   as_double(norm.weight),
                   as_double(norm.bias),
                   as_double(norm.running_mean),
                   as_double(norm.running_var),
                   false,
                   0.0,
                   1e-5,
                   false)
        .relu()
        .square()
        .sum()
        .backward();
    const double tolerance = dtype == at::kFloat ? 1e-5 : 3e-2;
    const at::Tensor difference = x.grad().to(at::kDouble) - same.grad();
    EXPECT_LT(difference.norm().item<double>() / same.grad().norm().item<double>(), tolerance);
    EXPECT_FALSE(norm.weight.grad().defined());
  }
}

TEST(FrozenParameters, LieOutsideEveryBucketAndNoUpdateTouchesThem) {
  for (const char* optimizer_name : {"sgd", "adamw"}) {
    const auto model = make_model("resnet20", {}, 1);
    freeze_parameters(*model, "conv1,bn1,layer1.1");
    FlatParameters flat(*model, {.decay_norms_and_biases = false, .bucket_bytes = 64 << 10});
    std::map<std::string, at::Tensor> before;
    int64_t in_buckets = 0, frozen = 0;
    for (const FlatBucket& bucket : flat.buckets()) in_buckets += bucket.num_parameters;
    for (const FlatEntry& entry : flat.entries()) {
      before[entry.name] = entry.master.clone();
      if (!entry.frozen) continue;
      ++frozen;
      EXPECT_LE(entry.offset + entry.count, flat.buckets().front().begin) << entry.name;
    }
    EXPECT_EQ(frozen, 9);
    EXPECT_EQ(in_buckets + frozen, static_cast<int64_t>(flat.entries().size()));

    OptimizerConfig config;
    config.name = optimizer_name;
    config.weight_decay = 0.1;
    const auto optimizer = make_optimizer(config, flat);
    for (int step = 0; step < 3; ++step) {
      flat.gradient().fill_(1.0);
      optimizer->step(0.1, at::ones({}), at::zeros({}));
    }
    for (const FlatEntry& entry : flat.entries())
      EXPECT_EQ(torch::equal(entry.master, before[entry.name]), entry.frozen) << entry.name;
  }
}

}  // namespace
}  // namespace lockstep
