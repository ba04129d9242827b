// Residual branches that are skipped at random, sample by sample.
#pragma once

#include "lockstep/core/nn/step_context.h"

namespace lockstep {

// Drop probability of block `block` (from 0) of `num_blocks`, rising linearly to `last` at the last
// one: (block + 1) / num_blocks * last (Huang et al. 2016, equation 4, as 1 - survival).
double stochastic_depth_rate(double last, int64_t block, int64_t num_blocks);

// A residual block's branch [N, ...] before the addition: in training 0 with probability `rate` (in
// [0, 1)) for a whole sample, else divided by 1 - rate (torchvision.ops.StochasticDepth, mode
// "row"); otherwise the branch itself. What is dropped is a function of (context.seed,
// context.step, block, position in the global batch). Differentiable in `branch`.
at::Tensor stochastic_depth(const at::Tensor& branch,
                            double rate,
                            int64_t block,
                            const StepContext& context);

}  // namespace lockstep
