// The training loss and counts, as sums over a slice: divided once, by the global count, after
// reduction.
#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep {

struct ClassificationSums {
  at::Tensor loss;     // [] float32: sum over samples (differentiable)
  at::Tensor correct;  // [] float32: samples whose largest logit is the label's
};

// Cross entropy with label smoothing (PyTorch's CrossEntropyLoss(reduction="sum")); logits [N,
// classes], labels [N] int64; N may be 0. A tie counts as correct only if the label is the first of
// the largest logits, as argmax has it.
ClassificationSums cross_entropy_sums(const at::Tensor& logits,
                                      const at::Tensor& labels,
                                      double label_smoothing);

// Of mixed images, with a second label [N] int64 each: the two labels' cross entropies, each times
// its weight (Zhang et al. 2018, section 2; by linearity the cross entropy with the mixed label).
// weights [2] float32, on the logits' device, whose sum is 1. Correct are images whose largest
// logit is the label of the larger weight; of equal ones, the first.
ClassificationSums mixed_cross_entropy_sums(const at::Tensor& logits,
                                            const at::Tensor& labels,
                                            const at::Tensor& second_labels,
                                            const at::Tensor& weights,
                                            double label_smoothing);

}  // namespace lockstep
