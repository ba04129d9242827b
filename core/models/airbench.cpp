// The small network of Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv
// 2404.00498, section 3 and listing 4), with names of our own: torchvision has none.
#include <ATen/ops/gelu.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/initialisation.h"
#include "lockstep/core/models/layers.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/models/whitening.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/max_pool.h"

namespace lockstep::models {
namespace {

constexpr int64_t kWidths[] = {64, 256, 256};
constexpr int64_t kPatchSide = 2;          // that the stem whitens
constexpr int64_t kWhitenedImages = 5000;  // of the training set
constexpr double kLogitScale = 1.0 / 9;
// Statistics that follow fast, for a run of some hundred updates.
constexpr double kNormMomentum = 0.4, kNormEpsilon = 1e-12;

// A norm that shifts alone: its weight stays 1 (section 3.1).
std::shared_ptr<BatchNorm> bias_only_norm(int64_t channels) {
  auto norm = std::make_shared<BatchNorm>(channels, kNormEpsilon, kNormMomentum);
  norm->weight.set_requires_grad(false);
  return norm;
}

// The first filters pass one channel each through unchanged (Zagoruyko and Komodakis 2017; section
// 3.3), the others are PyTorch's default.
void initialise_to_identity(InitialValues& values, const at::Tensor& weight) {
  values.uniform(weight, 1.0 / std::sqrt(static_cast<double>(weight[0].numel())));
  const int64_t kept = std::min(weight.size(0), weight.size(1));
  const int64_t center = weight.size(2) / 2;
  weight.narrow(0, 0, kept).zero_();
  for (int64_t c = 0; c < kept; ++c) weight[c][c][center][center] = 1;
}

class Group final : public torch::nn::Module {
 public:
  Group(int64_t in, int64_t out) {
    conv1_ = register_module("conv1", convolution(in, out, 3, 1));
    norm1_ = register_module("norm1", bias_only_norm(out));
    conv2_ = register_module("conv2", convolution(out, out, 3, 1));
    norm2_ = register_module("norm2", bias_only_norm(out));
  }
  at::Tensor forward(const at::Tensor& images, const StepContext& context) {
    const at::Tensor x = max_pool(conv1_->forward(images), {.size = 2, .stride = 2});
    const at::Tensor y = conv2_->forward(at::gelu(norm1_->forward(x, context)));
    return at::gelu(norm2_->forward(y, context));
  }
  void initialise(InitialValues& values) {
    initialise_to_identity(values, conv1_->weight);
    initialise_to_identity(values, conv2_->weight);
  }

 private:
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  std::shared_ptr<BatchNorm> norm1_, norm2_;
};

class Airbench final : public ImageClassifier, public InitialisesItself {
 public:
  explicit Airbench(const ModelOptions& options) {
    require_image_side(options, 9, 3);
    const int64_t directions = options.image_channels * kPatchSide * kPatchSide;
    int64_t channels = 2 * directions;  // each and its opposite
    whiten_ = register_module(
        "whiten",
        torch::nn::Conv2d(torch::nn::Conv2dOptions(options.image_channels, channels, kPatchSide)));
    whiten_->weight.set_requires_grad(false);
    for (const int64_t width : kWidths) {
      groups_.push_back(register_module("group" + std::to_string(groups_.size() + 1),
                                        std::make_shared<Group>(channels, width)));
      channels = width;
    }
    classifier_ = register_module(
        "classifier",
        torch::nn::Linear(torch::nn::LinearOptions(channels, options.num_classes).bias(false)));
  }

  std::vector<std::string> last_layers() const override { return {"classifier"}; }

  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = at::gelu(whiten_->forward(images));
    for (const auto& group : groups_) x = group->forward(x, context);
    // Over all of the image: of 32 pixels the 3 x 3 places of the paper.
    x = max_pool(x, {.size = x.size(2), .stride = x.size(2)}).flatten(1);
    return {classifier_->forward(x) * kLogitScale, {}};
  }

  void initialise(InitialValues& values) override {
    const at::NoGradGuard no_grad;
    values.module(*whiten_, "whiten");
    for (const auto& group : groups_) group->initialise(values);
    values.module(*classifier_, "classifier");
  }

  int64_t images_to_begin_with() const override { return kWhitenedImages; }
  void begin_with(const at::Tensor& images) override {
    const at::NoGradGuard no_grad;
    const at::Tensor filters = whitening_filters(images, kPatchSide);
    whiten_->weight.copy_(at::cat({filters, -filters}));
  }

 private:
  torch::nn::Conv2d whiten_{nullptr};
  std::vector<std::shared_ptr<Group>> groups_;
  torch::nn::Linear classifier_{nullptr};
};

}  // namespace

std::vector<ModelEntry> airbenches() {
  return {{.name = "airbench94",
           .description = "whitening stem, six convolutions, GELU: 94 % on CIFAR-10 in ten epochs "
                          "(Jordan 2024)",
           .make = [](const ModelOptions& options) -> std::shared_ptr<ImageClassifier> {
             return std::make_shared<Airbench>(options);
           }}};
}

}  // namespace lockstep::models
