// The ResNet family's factories, for the registry.
#pragma once

#include "lockstep/core/models/model_registry.h"

namespace lockstep::models {

// The CIFAR ResNet with 6n + 2 layers (He et al. 2015, section 4.2, shortcut option A).
std::shared_ptr<ImageClassifier> make_cifar_resnet(int64_t depth, const ModelOptions& options);

// ResNet-18, 34, 50, 101 or 152 (He et al. 2015, table 1), as torchvision's.
std::shared_ptr<ImageClassifier> make_resnet(int64_t depth, const ModelOptions& options);

}  // namespace lockstep::models
