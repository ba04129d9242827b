// What the models of this program are trained on, as TrainingStep takes it.
#pragma once

#include "lockstep/core/nn/module_forward.h"
#include "lockstep/distributed/training/training_step.h"

namespace lockstep {

// Cross entropy with label smoothing, of mixed images with both labels, and of auxiliary heads by
// the model's weight for them. `model` must outlive the function.
ForwardAndLoss classification_loss(ImageClassifier& model, double label_smoothing);

}  // namespace lockstep
