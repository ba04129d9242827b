// Models by name. A new model is one file in core/models/, with its class and its rows, and one
// line in model_registry.cpp (two with the declaration).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "lockstep/core/models/model_options.h"
#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

// How torchvision makes the same network, in Python.
struct TorchvisionModel {
  std::string make;        // after "torchvision.models."
  std::string adaptation;  // lines that give `model` what ours has differently; may be empty
};

// A row of the table of models: all that is said about one besides its class.
struct ModelEntry {
  const char* name;
  const char* description;  // one line, with the paper
  // On the CPU in float32, its parameters not initialised yet. Throws Error(kUsage) for options
  // that it cannot follow.
  std::shared_ptr<ImageClassifier> (*make)(const ModelOptions& options);
  // Which of ModelOptions it follows.
  bool has_residual_blocks = false;  // stochastic_depth
  bool has_dropout = false;          // dropout
  bool has_stems = false;            // stem
  bool has_heads = false;            // head; of these the compact one has no dropout
  // Wide plain 3x3 convolutions, which are faster channels-first in float32 on CPUs.
  bool channels_first_in_fp32_on_cpu = false;
  // Null: torchvision has no such model.
  TorchvisionModel (*torchvision)(const std::string& name, const ModelOptions& options) = nullptr;

  // The memory layout of activations and weights that is fastest: a fixed table, so that nothing
  // measured at run time changes a number.
  bool prefers_channels_last(at::ScalarType dtype, at::DeviceType device) const {
    return !(channels_first_in_fp32_on_cpu && dtype == at::kFloat && device == at::kCPU);
  }
};

const std::vector<ModelEntry>& registered_models();

// Throws Error(kUsage) for an unknown name, with the nearest known one.
const ModelEntry& find_model(const std::string& name);

// What can be refused before a model is made. Throws Error(kUsage) as make_model would.
void check_model(const std::string& name, double stochastic_depth);

// The model on the CPU in float32, initialised from `seed` alone (a counter-based stream per
// parameter: the same on every rank and at every world size). Throws Error(kUsage) for an unknown
// name, with the nearest known one, and for options that the model cannot follow.
std::shared_ptr<ImageClassifier> make_model(const std::string& name,
                                            const ModelOptions& options,
                                            uint64_t seed);

}  // namespace lockstep
