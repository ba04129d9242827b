// The VGG family's factory, for the registry.
#pragma once

#include "lockstep/core/models/model_registry.h"

namespace lockstep::models {

// VGG with 11, 13, 16 or 19 layers (Simonyan and Zisserman 2014, table 1: A, B, D, E), as
// torchvision's.
std::shared_ptr<ImageClassifier> make_vgg(int64_t depth,
                                          bool batch_norm,
                                          const ModelOptions& options);

}  // namespace lockstep::models
