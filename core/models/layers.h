// Pieces that several models share.
#pragma once

#include <torch/nn/modules/conv.h>

#include <memory>
#include <string>

#include "core/batch_norm.h"
#include "core/step_context.h"

namespace lockstep::models {

// Square kernel, no bias (a norm follows), padded so that stride 1 keeps the size.
inline torch::nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
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
