// VGG (Simonyan and Zisserman 2014, table 1), with torchvision's names: features.N, classifier.N.
#include <fmt/format.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/layers.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/dropout.h"
#include "lockstep/core/nn/max_pool.h"

namespace lockstep::models {
namespace {

constexpr int64_t kPooledSide = 7;  // what the classifier of the paper sees of each channel
constexpr int64_t kHiddenWidth = 4096;
constexpr double kPublishedDropout = 0.5;

// Convolutions of each of the five stages.
std::vector<int64_t> stage_lengths(int64_t depth) {
  switch (depth) {
    case 11:
      return {1, 1, 2, 2, 2};
    case 13:
      return {2, 2, 2, 2, 2};
    case 16:
      return {2, 2, 3, 3, 3};
    case 19:
      return {2, 2, 4, 4, 4};
    default:
      throw_error(ExitCode::kInternal, "no VGG has {} layers", depth);
  }
}

class Vgg final : public ImageClassifier {
 public:
  Vgg(int64_t depth, bool batch_norm, const ModelOptions& options)
      : dropout_(options.dropout.value_or(kPublishedDropout)) {
    require_image_side(options, 32, 5);
    const auto features = register_module("features", std::make_shared<Names>());
    int64_t channels = options.image_channels, width = 64, number = 0;
    for (const int64_t length : stage_lengths(depth)) {
      for (int64_t i = 0; i < length; ++i, channels = width) {
        Layer layer;
        layer.conv = features->register_module(std::to_string(number),
                                               convolution(channels, width, 3, 1, /*bias=*/true));
        if (batch_norm) {
          layer.norm = features->register_module(std::to_string(number + 1),
                                                 std::make_shared<BatchNorm>(width));
        }
        layer.pool = i == length - 1;
        number += (batch_norm ? 3 : 2) + (layer.pool ? 1 : 0);  // the ReLU and the pool count
        layers_.push_back(layer);
      }
      width = std::min<int64_t>(2 * width, 512);
    }
    if (options.head == ModelHead::kCompact) {
      compact_ = register_module("classifier", linear(channels, options.num_classes));
      return;
    }
    const auto classifier = register_module("classifier", std::make_shared<Names>());
    const auto layer = [&](const char* name, int64_t in, int64_t out) {
      return classifier->register_module(name, linear(in, out));
    };
    fc1_ = layer("0", channels * kPooledSide * kPooledSide, kHiddenWidth);
    fc2_ = layer("3", kHiddenWidth, kHiddenWidth);
    fc3_ = layer("6", kHiddenWidth, options.num_classes);
  }

  std::vector<std::string> last_layers() const override {
    return {compact_ ? "classifier" : "classifier.6"};
  }

  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = images;
    for (Layer& layer : layers_) {
      x = layer.conv->forward(x);
      x = layer.norm ? layer.norm->forward(x, context, {.relu = true}) : x.relu_();
      if (layer.pool) x = max_pool(x, {.size = 2, .stride = 2});
    }
    if (compact_) return {compact_->forward(global_average_pool(x)), {}};
    x = dropout(first_linear(x).relu_(), dropout_, 0, context);
    x = dropout(fc2_->forward(x).relu_(), dropout_, 1, context);
    return {fc3_->forward(x), {}};
  }

 private:
  class Names : public torch::nn::Module {};
  struct Layer {
    torch::nn::Conv2d conv{nullptr};
    std::shared_ptr<BatchNorm> norm;  // null: without
    bool pool = false;                // 2x2 after it
  };

  // fc1 of the features pooled to 7x7 (AdaptiveAvgPool2d). Images of 32 to 63 pixels leave one
  // place, which pooling would repeat 49 times: then the weights of the places are summed instead,
  // which gives the same numbers for a 49th of the products.
  at::Tensor first_linear(const at::Tensor& x) {
    if (x.size(2) == 1 && x.size(3) == 1) {
      const at::Tensor summed =
          fc1_->weight.view({kHiddenWidth, x.size(1), kPooledSide * kPooledSide}).sum(2);
      return at::linear(x.flatten(1), summed, fc1_->bias);
    }
    return fc1_->forward(at::adaptive_avg_pool2d(x, {kPooledSide, kPooledSide}).flatten(1));
  }

  std::vector<Layer> layers_;
  double dropout_;
  torch::nn::Linear compact_{nullptr}, fc1_{nullptr}, fc2_{nullptr}, fc3_{nullptr};
};

TorchvisionModel torchvision_vgg(const std::string& name, const ModelOptions& options) {
  TorchvisionModel model{fmt::format("{}(num_classes={})", name, options.num_classes), ""};
  if (options.image_channels != 3) {
    model.adaptation = fmt::format("model.features[0] = torch.nn.Conv2d({}, 64, 3, padding=1)\n",
                                   options.image_channels);
  }
  if (options.head == ModelHead::kCompact) {
    model.adaptation += fmt::format(
        "model.avgpool, model.classifier = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(512, "
        "{})\n",
        options.num_classes);
  }
  return model;
}

// With `depth` layers (table 1: A, B, D, E), as torchvision's.
template <int64_t depth, bool batch_norm>
ModelEntry vgg(const char* name) {
  return {.name = name,
          .description = batch_norm ? "VGG with batch norm (Simonyan and Zisserman 2014, table 1)"
                                    : "VGG (Simonyan and Zisserman 2014, table 1)",
          .make = [](const ModelOptions& options) -> std::shared_ptr<ImageClassifier> {
            return std::make_shared<Vgg>(depth, batch_norm, options);
          },
          .has_dropout = true,
          .has_heads = true,
          .channels_first_in_fp32_on_cpu = true,  // tests/bench/README.md has the numbers
          .torchvision = torchvision_vgg};
}

}  // namespace

std::vector<ModelEntry> vggs() {
  return {vgg<11, false>("vgg11"),
          vgg<13, false>("vgg13"),
          vgg<16, false>("vgg16"),
          vgg<19, false>("vgg19"),
          vgg<11, true>("vgg11_bn"),
          vgg<13, true>("vgg13_bn"),
          vgg<16, true>("vgg16_bn"),
          vgg<19, true>("vgg19_bn")};
}

}  // namespace lockstep::models
