#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <string>

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

namespace F = torch::nn::functional;
using Weights = std::map<std::string, at::Tensor>;

StepContext training() {
  StepContext context;
  context.training = true;
  return context;
}

int64_t num_parameters(const std::string& name, int64_t num_classes = 10) {
  ModelOptions options;
  options.num_classes = num_classes;
  int64_t count = 0;
  for (const auto& parameter : make_model(name, options, 1)->parameters())
    count += parameter.numel();
  return count;
}

TEST(ResNet, HasThePublishedNumbersOfParameters) {
  // He et al. 2015, table 6, rounds these to 0.27 M, 0.46 M, 0.66 M, 0.85 M and 1.7 M.
  EXPECT_EQ(num_parameters("resnet20"), 269722);
  EXPECT_EQ(num_parameters("resnet32"), 464154);
  EXPECT_EQ(num_parameters("resnet44"), 658586);
  EXPECT_EQ(num_parameters("resnet56"), 853018);
  EXPECT_EQ(num_parameters("resnet110"), 1727962);
  // torchvision's models less the difference of the stem: a 3x3 kernel for a 7x7 one.
  constexpr int64_t kStem = 64 * 3 * (49 - 9);
  EXPECT_EQ(num_parameters("resnet18"), 11173962);
  EXPECT_EQ(num_parameters("resnet18", 1000), 11689512 - kStem);
  EXPECT_EQ(num_parameters("resnet34", 1000), 21797672 - kStem);
  EXPECT_EQ(num_parameters("resnet50", 1000), 25557032 - kStem);
}

TEST(ResNet, NamesParametersAsTorchvisionDoes) {
  const auto names = make_model("resnet50", {}, 1)->named_parameters();
  for (const char* name : {"conv1.weight",
                           "bn1.bias",
                           "layer1.0.conv3.weight",
                           "layer1.0.downsample.0.weight",
                           "layer1.0.downsample.1.weight",
                           "layer3.5.bn3.weight",
                           "layer4.2.conv2.weight",
                           "fc.bias"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  EXPECT_EQ(names["layer2.0.conv2.weight"].sizes(), at::IntArrayRef({128, 128, 3, 3}));
  EXPECT_TRUE(make_model("resnet20", {}, 1)->named_buffers().contains("layer3.2.bn2.running_var"));
}

// The same networks from the papers' text, in float64, of LibTorch's functions; blocks and shapes
// follow from the weights' names.
class Reference {
 public:
  explicit Reference(torch::nn::Module& model) {
    for (const auto& parameter : model.named_parameters()) {
      weights[parameter.key()] = parameter.value().detach().to(at::kDouble).requires_grad_();
    }
  }

  at::Tensor logits(const at::Tensor& images) {
    at::Tensor x = norm("bn1", conv("conv1", images, 1)).relu();
    for (int stage = 1; has("layer" + std::to_string(stage) + ".0.conv1"); ++stage) {
      for (int i = 0; has(block_name(stage, i) + "conv1"); ++i) {
        x = block(block_name(stage, i), x, stage > 1 && i == 0 ? 2 : 1);
      }
    }
    return F::linear(x.mean({2, 3}), weights.at("fc.weight"), weights.at("fc.bias"));
  }

  Weights weights;

 private:
  static std::string block_name(int stage, int i) {
    return "layer" + std::to_string(stage) + "." + std::to_string(i) + ".";
  }
  bool has(const std::string& layer) const { return weights.contains(layer + ".weight"); }
  at::Tensor conv(const std::string& name, const at::Tensor& x, int64_t stride) {
    const at::Tensor& weight = weights.at(name + ".weight");
    return F::conv2d(x, weight, F::Conv2dFuncOptions().stride(stride).padding(weight.size(2) / 2));
  }
  at::Tensor norm(const std::string& name, const at::Tensor& x) {
    return torch::batch_norm(x,
                             weights.at(name + ".weight"),
                             weights.at(name + ".bias"),
                             {},
                             {},
                             true,
                             0.1,
                             1e-5,
                             false);
  }

  at::Tensor shortcut(const std::string& at,
                      const at::Tensor& x,
                      const at::Tensor& y,
                      int64_t stride) {
    if (has(at + "downsample.0"))
      return norm(at + "downsample.1", conv(at + "downsample.0", x, stride));
    if (stride == 1) return x;
    const at::Tensor taken = F::avg_pool2d(x, F::AvgPool2dFuncOptions(1).stride(stride));
    const at::Tensor zeros =
        torch::zeros({y.size(0), (y.size(1) - x.size(1)) / 2, y.size(2), y.size(3)}, x.options());
    return torch::cat({zeros, taken, zeros}, 1);
  }

  at::Tensor block(const std::string& at, const at::Tensor& x, int64_t stride) {
    const bool bottleneck = has(at + "conv3");
    at::Tensor y = norm(at + "bn1", conv(at + "conv1", x, bottleneck ? 1 : stride)).relu();
    y = norm(at + "bn2", conv(at + "conv2", y, bottleneck ? stride : 1));
    if (bottleneck) y = norm(at + "bn3", conv(at + "conv3", y.relu(), 1));
    return (y + shortcut(at, x, y, stride)).relu();
  }
};

double relative_error(const at::Tensor& ours, const at::Tensor& truth) {
  const at::Tensor wide = ours.to(at::kDouble);
  return ((wide - truth).norm() / truth.norm().clamp_min(1e-6)).item<double>();
}

// Relative errors of one training step against the reference.
struct StepErrors {
  double logits = 0, loss = 0, worst_gradient = 0;
  std::string worst;
};

StepErrors step_errors(const std::string& name,
                       at::MemoryFormat format,
                       int64_t image_size,
                       uint64_t seed) {
  torch::manual_seed(seed);
  const auto model = make_model(name, {}, seed);
  Reference reference(*model);
  const at::Tensor images = torch::randn({8, 3, image_size, image_size});
  const at::Tensor labels = torch::randint(10, {8});
  const at::Tensor logits = model->forward(images.contiguous(format), training()).logits;
  const at::Tensor loss = torch::cross_entropy_loss(logits, labels);
  loss.backward();
  const at::Tensor true_logits = reference.logits(images.to(at::kDouble));
  const at::Tensor true_loss = torch::cross_entropy_loss(true_logits, labels);
  true_loss.backward();
  StepErrors errors;
  errors.logits = relative_error(logits.detach(), true_logits.detach());
  errors.loss = relative_error(loss.detach(), true_loss.detach());
  for (const auto& parameter : model->named_parameters()) {
    const at::Tensor truth = reference.weights.at(parameter.key()).grad();
    const double error = relative_error(parameter.value().grad(), truth);
    if (error > errors.worst_gradient) {
      errors.worst_gradient = error;
      errors.worst = parameter.key();
    }
  }
  return errors;
}

// A ReLU whose input is 0 up to rounding may open here and not in the reference: gradients then
// part by up to 4e-2, in LibTorch's own float32 as often as in this one, at seeds that depend on
// the processor. Nothing wrong agrees to 1e-4 at any seed.
constexpr double kOneReluApart = 0.1;

void expect_trains_as_composition(const std::string& name,
                                  at::MemoryFormat format,
                                  int64_t image_size) {
  double best = kOneReluApart;
  for (uint64_t seed = 1; seed <= 8 && best > 1e-4; ++seed) {
    const StepErrors errors = step_errors(name, format, image_size, seed);
    EXPECT_LT(errors.logits, 1e-4) << name;
    EXPECT_LT(errors.loss, 1e-4) << name;
    EXPECT_LT(errors.worst_gradient, kOneReluApart) << name << " " << errors.worst;
    best = std::min(best, errors.worst_gradient);
  }
  EXPECT_LT(best, 1e-4) << name;
}

TEST(ResNet, OptionABlocksTrainAsTheirComposition) {
  expect_trains_as_composition("resnet20", at::MemoryFormat::Contiguous, 32);
  expect_trains_as_composition("resnet20", at::MemoryFormat::ChannelsLast, 32);
}

TEST(ResNet, ProjectionBlocksTrainAsTheirComposition) {
  expect_trains_as_composition("resnet18", at::MemoryFormat::ChannelsLast, 16);
}

TEST(ResNet, BottleneckBlocksTrainAsTheirComposition) {
  // So many ReLUs that one is apart at nearly every seed.
  const StepErrors errors = step_errors("resnet50", at::MemoryFormat::ChannelsLast, 16, 1);
  EXPECT_LT(errors.logits, 1e-4);
  EXPECT_LT(errors.worst_gradient, kOneReluApart) << errors.worst;
}

TEST(ResNet, TrainsInBFloat16WithFloat32Norms) {
  torch::manual_seed(8);
  const auto model = make_model("resnet20", {}, 11), exact = make_model("resnet20", {}, 11);
  for (const auto& module : model->modules()) {
    if (!module->as<BatchNorm>() && module->children().empty()) module->to(at::kBFloat16);
  }
  const at::Tensor images = torch::randn({32, 3, 32, 32});
  const at::Tensor low = images.to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor logits = model->forward(low, training()).logits;
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  const at::Tensor expected = exact->forward(images, training()).logits;
  EXPECT_LT(relative_error(logits.detach(), expected.detach().to(at::kDouble)), 0.05);
  logits.to(at::kFloat).square().sum().backward();
  for (const auto& parameter : model->parameters()) {
    EXPECT_EQ(parameter.grad().scalar_type(), parameter.scalar_type());
    EXPECT_TRUE(parameter.grad().isfinite().all().item<bool>());
  }
}

TEST(ResNet, EvaluatesEachImageOnItsOwn) {
  torch::manual_seed(9);
  const at::InferenceMode inference;
  const auto model = make_model("resnet20", {}, 3);
  const at::Tensor images = torch::randn({5, 3, 32, 32});
  const at::Tensor all = model->forward(images, {}).logits;
  EXPECT_EQ(all.sizes(), at::IntArrayRef({5, 10}));
  const at::Tensor one = model->forward(images.narrow(0, 2, 1), {}).logits;
  EXPECT_TRUE(at::allclose(one[0], all[2], 1e-4, 1e-5));
}

}  // namespace
}  // namespace lockstep
