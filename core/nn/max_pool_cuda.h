// Max pooling's passes on a CUDA device. Only in builds with CUDA.
#pragma once

#include <ATen/core/Tensor.h>

#include "lockstep/core/kernels/max_pool_shape.h"

namespace lockstep {

// Channels-last [N, C, H, W] in float32 or bfloat16; taps uint8, as y. One launch each, on the
// current stream.
void max_pool_cuda(const kernels::MaxPoolShape& shape,
                   const at::Tensor& x,
                   const at::Tensor& y,
                   const at::Tensor& taps);
// `base` may be undefined.
void max_pool_gradient_cuda(const kernels::MaxPoolShape& shape,
                            const at::Tensor& dy,
                            const at::Tensor& taps,
                            const at::Tensor& base,
                            const at::Tensor& dx);

}  // namespace lockstep
