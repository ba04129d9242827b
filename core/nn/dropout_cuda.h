// Random masks made on a CUDA device. Only in builds with CUDA.
#pragma once

#include <ATen/core/Tensor.h>

#include "lockstep/core/random/dropout_draws.h"

namespace lockstep {

// What random_mask (core/nn/dropout.h) returns, for `options` of a CUDA device and the draws of a
// mask of `sizes`: on the device's current stream, without waiting for it. `step`: [] int32 on the
// device, read instead of draws.step; or undefined.
at::Tensor random_mask_cuda(at::IntArrayRef sizes,
                            const at::TensorOptions& options,
                            const MaskDraws& draws,
                            const at::Tensor& step);

}  // namespace lockstep
