// The ResNet family's factories, for the registry.
#pragma once

#include "core/model_registry.h"

namespace lockstep::models {

std::shared_ptr<ImageClassifier> make_resnet20(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet32(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet44(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet56(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet110(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet18(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet34(const ModelOptions& options);
std::shared_ptr<ImageClassifier> make_resnet50(const ModelOptions& options);

}  // namespace lockstep::models
