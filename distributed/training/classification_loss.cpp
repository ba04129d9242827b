#include "lockstep/distributed/training/classification_loss.h"

#include <ATen/TensorOperators.h>

#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

ClassificationSums sums_of(const at::Tensor& logits, const Batch& slice, double label_smoothing) {
  if (!slice.second_labels.defined())
    return cross_entropy_sums(logits, slice.labels, label_smoothing);
  return mixed_cross_entropy_sums(
      logits, slice.labels, slice.second_labels, slice.mixing_weights, label_smoothing);
}

}  // namespace

ForwardAndLoss classification_loss(ImageClassifier& model, double label_smoothing) {
  return [&model, label_smoothing](const Batch& slice, const StepContext& context) {
    const ClassifierOutput output = model.forward(slice.images, context);
    ClassificationSums sums = sums_of(output.logits, slice, label_smoothing);
    for (const at::Tensor& logits : output.auxiliary_logits) {
      sums.loss =
          sums.loss + model.auxiliary_weight() * sums_of(logits, slice, label_smoothing).loss;
    }
    return sums;
  };
}

}  // namespace lockstep
