// Models by name. A new model is one file in core/models/ and one line in model_registry.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

// The first layers. `imagenet` shrinks the image to a quarter (7x7 stride 2, then a 3x3 pool of
// stride 2), `cifar` keeps its size (3x3, no pool; GoogLeNet then halves it once). `automatic`:
// imagenet from 64 pixels on.
enum class ModelStem { kAutomatic, kCifar, kImagenet };
// VGG's classifier: the published three fully connected layers, or one on the global average.
enum class ModelHead { kFull, kCompact };

struct ModelOptions {
  int64_t num_classes = 10;
  int64_t image_channels = 3;
  int64_t image_size = 32;        // height = width, in pixels
  std::optional<double> dropout;  // for models that have it; unset: the published rate
  ModelStem stem = ModelStem::kAutomatic;
  ModelHead head = ModelHead::kFull;
  double stochastic_depth = 0;  // of the last residual block; > 0 for models that have them alone
};

using ModelFactory = std::shared_ptr<ImageClassifier> (*)(const ModelOptions&);

struct ModelEntry {
  const char* name;
  const char* description;  // one line, with the paper
  ModelFactory make;
  bool has_residual_blocks = false;  // follows ModelOptions::stochastic_depth
};

const std::vector<ModelEntry>& registered_models();

// What the configuration says about a model, for a set of images [image_channels, image_size,
// image_size].
ModelOptions model_options(const ModelConfig& config,
                           int64_t num_classes,
                           int64_t image_channels,
                           int64_t image_size);

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

// Weights as He et al. 2015 (arXiv 1502.01852; normal, gain sqrt 2) for convolutions, with fan-out
// as torchvision's ResNet, with fan-in where there is a bias; ones and zeros for norms; PyTorch's
// default (Kaiming-uniform with a = sqrt 5: U(±1/sqrt fan_in)) for linear layers.
void initialise(torch::nn::Module& module, uint64_t seed);

}  // namespace lockstep
