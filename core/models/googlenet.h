// GoogLeNet's factory, for the registry.
#pragma once

#include "lockstep/core/models/model_registry.h"

namespace lockstep::models {

// GoogLeNet (Szegedy et al. 2014, table 1), as torchvision's, which is the one with batch norm.
std::shared_ptr<ImageClassifier> make_googlenet(bool batch_norm, const ModelOptions& options);

}  // namespace lockstep::models
