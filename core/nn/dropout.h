// Dropout whose masks are a function of what is dropped, never of who computes it.
#pragma once

#include <cstdint>

#include "lockstep/core/nn/step_context.h"
#include "lockstep/core/random/random.h"

namespace lockstep {

// What a random mask is for.
struct MaskPurpose {
  RandomUse use = RandomUse::kDropout;
  uint32_t layer = 0;  // of those with this use in a model
  double rate = 0;     // of zeros, in [0, 1)
};

// [N, ...] of these sizes, dtype and device: 0 with probability `rate`, else 1. An element's value
// is a function of (context.seed, use, context.step, layer, the sample's position in the global
// batch, the element's index within its sample in logical order) alone, so that it is the same at
// any number of ranks and micro-slices, and on any device (Philox4x32-10; rates are rounded to
// 2^-32). On a CUDA device it is made there, on the current stream, and the host does not wait.
at::Tensor random_mask(at::IntArrayRef sizes,
                       const at::TensorOptions& options,
                       const MaskPurpose& purpose,
                       const StepContext& context);

// The mask of dropout on `x`.
at::Tensor dropout_mask(const at::Tensor& x,
                        double rate,
                        uint32_t layer,
                        const StepContext& context);

// Inverted dropout (Srivastava et al. 2014, section 10; torch.nn.Dropout): in training x * mask /
// (1 - rate), otherwise x itself. `layer` tells the dropout layers of one model apart.
// Differentiable in x.
at::Tensor dropout(const at::Tensor& x, double rate, uint32_t layer, const StepContext& context);

}  // namespace lockstep
