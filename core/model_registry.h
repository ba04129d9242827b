// Models by name. A new model is one file in core/models/ and one line in model_registry.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/image_classifier.h"

namespace lockstep {

struct ModelOptions {
  int64_t num_classes = 10;
  int64_t image_channels = 3;
  int64_t image_size = 32;  // height = width, in pixels
  double dropout = 0.0;
};

using ModelFactory = std::shared_ptr<ImageClassifier> (*)(const ModelOptions&);

struct ModelEntry {
  const char* name;
  const char* description;  // one line, with the paper
  ModelFactory make;
};

const std::vector<ModelEntry>& registered_models();

// Throws Error(kUsage) for an unknown name, with the nearest known one.
const ModelEntry& find_model(const std::string& name);

// The model on the CPU in float32, initialised from `seed` alone (a counter-based stream per
// parameter: the same on every rank and at every world size). Throws Error(kUsage) for an unknown
// name, with the nearest known one.
std::shared_ptr<ImageClassifier> make_model(const std::string& name,
                                            const ModelOptions& options,
                                            uint64_t seed);

// Weights as He et al. 2015 (normal, fan-out, gain sqrt 2) for convolutions, ones and zeros for
// norms, PyTorch's default (Kaiming-uniform with a = sqrt 5: U(±1/sqrt fan_in)) for linear layers.
void initialise(torch::nn::Module& module, uint64_t seed);

}  // namespace lockstep
