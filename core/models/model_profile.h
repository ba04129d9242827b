// What a model costs: multiply-adds and memory, found by running it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

struct LayerProfile {
  std::string name;  // of the module
  int64_t parameters = 0;
  std::vector<int64_t> weight;  // its weight's shape, or its largest parameter's
  std::vector<int64_t> output;  // of one image; empty for norms and what evaluation leaves out
  int64_t multiply_adds = 0;    // for one image
};

struct ModelProfile {
  std::vector<LayerProfile> layers;  // modules with parameters, in the order of registration
  int64_t parameters = 0;
  // Of convolutions and linear layers in evaluation, for one image.
  int64_t multiply_adds = 0;
  // Bytes for each image in a batch: what is still held when a training forward pass ends (backward
  // needs it), and the most that is held at once in evaluation. Of tensors; libraries' scratch
  // memory comes on top.
  int64_t training_bytes = 0, evaluation_bytes = 0;
};

// Runs forward passes on blank images of shape `image` ([1, C, H, W], with the dtype, device and
// memory format that training uses). Leaves running statistics as they were.
ModelProfile profile_model(ImageClassifier& model, const at::Tensor& image);

// The last of those alone.
int64_t evaluation_bytes_per_image(ImageClassifier& model, const at::Tensor& image);

}  // namespace lockstep
