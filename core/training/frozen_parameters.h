// Parts of a model that fine-tuning leaves as they are (`model.freeze`).
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

// Freezes what `names` says: module or parameter names separated by commas ("conv1,bn1,layer1"),
// each with everything below it ("layer1" is layer1.0.conv1.weight and its like, not layer10), or
// "backbone": all but the model's last layers and auxiliary heads. Frozen parameters get
// requires_grad = false: no gradient is computed, reduced or applied to them, no weight decay, no
// momentum. A BatchNorm with both parameters frozen normalises with its running statistics and
// leaves them alone, in training as in evaluation (PyTorch: freeze by requires_grad_(False) and
// eval() of those norms).
//
// Call it before FlatParameters and BatchNormState take the model over. Returns the number of
// frozen elements. Throws Error(kUsage) for names that match nothing (with the nearest known one),
// and when nothing would be left to train.
int64_t freeze_parameters(ImageClassifier& model, const std::string& names);

}  // namespace lockstep
