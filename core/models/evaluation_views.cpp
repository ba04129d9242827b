#include "lockstep/core/models/evaluation_views.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/reflection_pad2d.h>

#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

at::Tensor logits_of(ImageClassifier& model, const at::Tensor& images) {
  return model.forward(images, StepContext{}).logits;
}

// In float32.
at::Tensor with_mirror_image(ImageClassifier& model, const at::Tensor& images) {
  const at::Tensor own = logits_of(model, images), mirrored = logits_of(model, images.flip(3));
  return (own.to(at::kFloat) + mirrored.to(at::kFloat)) / 2;
}

}  // namespace

at::Tensor logits_of_views(ImageClassifier& model,
                           const at::Tensor& images,
                           EvaluationViews views) {
  if (views == EvaluationViews::kOne) return logits_of(model, images);
  at::Tensor middle = with_mirror_image(model, images);
  if (views == EvaluationViews::kMirrored) return middle;
  const at::MemoryFormat format = images.suggest_memory_format();
  const at::Tensor padded = at::reflection_pad2d(images, {1, 1, 1, 1});
  const auto moved = [&](int64_t begin) {
    return with_mirror_image(model,
                             padded.narrow(2, begin, images.size(2))
                                 .narrow(3, begin, images.size(3))
                                 .contiguous(format));
  };
  return middle / 2 + (moved(0) + moved(2)) / 4;
}

}  // namespace lockstep
