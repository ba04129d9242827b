// Max pooling, with kernels of its own for channels-last activations.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace lockstep {

struct MaxPoolOptions {
  int64_t size = 2, stride = 2, padding = 0;  // of square windows; padding at most half their size
  bool ceil_mode = false;                     // round the output's side up instead of down
};

// What torch.nn.MaxPool2d makes of [N, C, H, W] (float32, bfloat16, others ATen takes), bit for bit
// in float32, gradient included; bfloat16 gradients are summed in float32. ATen's kernels, where
// there are none of ours, keep 8 bytes a value for backward; ours keep one, and have no second
// derivative.
at::Tensor max_pool(const at::Tensor& x, const MaxPoolOptions& options);

// {max_pool(x), x}, for an x that is used beside its pooled values too: one pass then makes the sum
// of both gradients.
std::pair<at::Tensor, at::Tensor> max_pool_beside(const at::Tensor& x,
                                                  const MaxPoolOptions& options);

}  // namespace lockstep
