// How a network of ours is made in torchvision, in Python.
#pragma once

#include <string>

#include "lockstep/launch/commands/trained_model.h"

namespace lockstep {

// Lines of Python that make the torchvision model with the same names and shapes, adapted where
// ours differs (3x3 stem, one-layer classifier, channels), and load the safetensors file at `path`
// into it. Empty where torchvision has no such model (resnet20 to resnet110; googlenet without
// batch norm).
std::string torchvision_snippet(const TrainedModel& trained, const std::string& path);

}  // namespace lockstep
