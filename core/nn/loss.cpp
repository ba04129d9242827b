#include "lockstep/core/nn/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/nn/loss_cuda.h"
#endif

namespace lockstep {

ClassificationSums cross_entropy_sums(const at::Tensor& logits,
                                      const at::Tensor& labels,
                                      double label_smoothing) {
#ifdef LOCKSTEP_WITH_CUDA
  if (logits.is_cuda() && logits.size(0) > 0)
    return cross_entropy_sums_cuda(logits, labels, {}, {}, label_smoothing);
#endif
  // A sum over a batch loses too much in bfloat16.
  const at::Tensor scores = logits.to(at::kFloat);
  ClassificationSums sums;
  if (scores.size(0) == 0) {
    // Still part of the graph, so that an empty slice takes part in backward's collectives.
    sums.loss = scores.sum();
    sums.correct = at::zeros({}, scores.options().requires_grad(false));
    return sums;
  }
  sums.loss = at::cross_entropy_loss(scores,
                                     labels,
                                     /*weight=*/{},
                                     at::Reduction::Sum,
                                     /*ignore_index=*/-100,
                                     label_smoothing);
  sums.correct = scores.detach().argmax(1).eq(labels).sum(at::kFloat);
  return sums;
}

ClassificationSums mixed_cross_entropy_sums(const at::Tensor& logits,
                                            const at::Tensor& labels,
                                            const at::Tensor& second_labels,
                                            const at::Tensor& weights,
                                            double label_smoothing) {
#ifdef LOCKSTEP_WITH_CUDA
  if (logits.is_cuda() && logits.size(0) > 0)
    return cross_entropy_sums_cuda(logits, labels, second_labels, weights, label_smoothing);
#endif
  const ClassificationSums first = cross_entropy_sums(logits, labels, label_smoothing);
  const ClassificationSums second = cross_entropy_sums(logits, second_labels, label_smoothing);
  const at::Tensor own = weights[0], partner = weights[1];
  return {.loss = own * first.loss + partner * second.loss,
          .correct = at::where(own >= partner, first.correct, second.correct)};
}

}  // namespace lockstep
