// The training loss on a CUDA device. Only in builds with CUDA.
#pragma once

#include "lockstep/core/nn/loss.h"

namespace lockstep {

// As mixed_cross_entropy_sums; second_labels and weights undefined: as cross_entropy_sums. Of one
// image or more. Two launches, on the current stream: the sums, and the logits' gradient, in the
// logits' dtype.
ClassificationSums cross_entropy_sums_cuda(const at::Tensor& logits,
                                           const at::Tensor& labels,
                                           const at::Tensor& second_labels,
                                           const at::Tensor& weights,
                                           double label_smoothing);

}  // namespace lockstep
