// Several views of an image, one answer.
#pragma once

#include <ATen/core/Tensor.h>

#include "lockstep/core/config/config_enums.h"
#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

// Logits [N, classes] of images [N, C, H, W], in evaluation: the mean over the views (float32 of
// several). `translated` is half the mean over image and mirror image, and half the same of the
// image moved by (1, 1) and (-1, -1) pixels, with its border reflected.
at::Tensor logits_of_views(ImageClassifier& model, const at::Tensor& images, EvaluationViews views);

}  // namespace lockstep
