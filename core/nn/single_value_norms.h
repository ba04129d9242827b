// Which norms of a model would have nothing to normalise in a slice of one image.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

// The names of the BatchNorms that see a single value a channel of one image, so that in training
// they would give their bias, whatever the image. Runs one forward pass in training mode on `image`
// ([1, C, H, W], in the parameters' dtype, on their device); leaves running statistics as they are.
// REQUIRES: no BatchNormState has taken the model over yet.
std::vector<std::string> single_value_norms(ImageClassifier& model, const at::Tensor& image);

}  // namespace lockstep
