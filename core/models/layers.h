// Pieces that several models share.
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_options.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/step_context.h"

namespace lockstep::models {

// Square kernel, padded so that stride 1 keeps the size; without a bias where a norm follows.
// Here and in linear() without PyTorch's own initial values, which initialise() replaces: for large
// layers they take seconds.
inline torch::nn::Conv2d convolution(
    int64_t in, int64_t out, int64_t kernel, int64_t stride, bool bias = false) {
  torch::nn::Conv2d layer(
      torch::nn::Conv2dOptions(1, 1, 1).stride(stride).padding(kernel / 2).bias(bias));
  layer->options.in_channels(in).out_channels(out).kernel_size(kernel);
  layer->weight.set_data(at::zeros({out, in, kernel, kernel}));
  if (bias) layer->bias.set_data(at::zeros({out}));
  return layer;
}

inline bool uses_imagenet_stem(const ModelOptions& options) {
  if (options.stem == ModelStem::kAutomatic) return options.image_size >= 64;
  return options.stem == ModelStem::kImagenet;
}

// In Python, a convolution with torchvision's 64 channels as our first one; empty where
// torchvision's own is the same.
inline std::string torchvision_first_layer(const ModelOptions& options) {
  const bool imagenet_stem = uses_imagenet_stem(options);
  if (imagenet_stem && options.image_channels == 3) return "";
  return fmt::format("torch.nn.Conv2d({}, 64, {}, bias=False)",
                     options.image_channels,
                     imagenet_stem ? "7, stride=2, padding=3" : "3, padding=1");
}

// Throws Error(kUsage) for images that a network, which halves them `halvings` times, would shrink
// to nothing.
inline void require_image_side(const ModelOptions& options, int64_t least, int halvings) {
  if (options.image_size < least) {
    throw_error(ExitCode::kUsage,
                "this model halves images {2} times and needs {0} x {0} pixels or more, but the "
                "images have {1} x {1}: choose another "
                "model (`lockstep models`) or import larger images",
                least,
                options.image_size,
                halvings);
  }
}

inline torch::nn::Linear linear(int64_t in, int64_t out) {
  torch::nn::Linear layer(1, 1);
  layer->options.in_features(in).out_features(out);
  layer->weight.set_data(at::zeros({out, in}));
  layer->bias.set_data(at::zeros({out}));
  return layer;
}

// [N, C, H, W] -> [N, C], summed in float32.
inline at::Tensor global_average_pool(const at::Tensor& x) { return x.mean({2, 3}); }

// torchvision's projection shortcut: downsample.0 convolution, downsample.1 norm.
class Downsample final : public torch::nn::Module {
 public:
  Downsample(int64_t in, int64_t out, int64_t stride) {
    conv_ = register_module("0", convolution(in, out, 1, stride));
    norm_ = register_module("1", std::make_shared<BatchNorm>(out));
  }
  at::Tensor forward(const at::Tensor& x, const StepContext& context) {
    return norm_->forward(conv_->forward(x), context);
  }

 private:
  torch::nn::Conv2d conv_{nullptr};
  std::shared_ptr<BatchNorm> norm_;
};

}  // namespace lockstep::models
