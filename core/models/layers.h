// Pieces that several models share.
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <string>

#include "core/batch_norm.h"
#include "core/error.h"
#include "core/model_registry.h"
#include "core/step_context.h"

namespace lockstep::models {

// Square kernel, no bias (a norm follows), padded so that stride 1 keeps the size.
inline torch::nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

inline bool uses_imagenet_stem(const ModelOptions& options) {
  if (options.stem == ModelStem::kAutomatic) return options.image_size >= 64;
  return options.stem == ModelStem::kImagenet;
}

// Throws Error(kUsage) for images that a network would shrink to nothing.
inline void require_image_side(const ModelOptions& options, int64_t least) {
  if (options.image_size < least) {
    throw_error(ExitCode::kUsage,
                "this model halves images five times and needs {0} x {0} pixels or more, but the "
                "images have {1} x {1}: choose another "
                "model (`lockstep models`) or import larger images",
                least,
                options.image_size);
  }
}

// Without PyTorch's own initial values, which initialise() replaces: large layers take a second
// each.
inline torch::nn::Linear linear(int64_t in, int64_t out) {
  torch::nn::Linear layer(1, 1);
  layer->options.in_features(in).out_features(out);
  layer->weight.set_data(at::empty({out, in}));
  layer->bias.set_data(at::empty({out}));
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
