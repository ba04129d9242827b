// From a configuration to the pieces that training, evaluation and benchmarks are made of.
#pragma once

#include <memory>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/data/loading/batch_loader.h"

namespace lockstep {

// What images and activations are computed in: bfloat16 or float32.
at::ScalarType compute_dtype(Precision precision);

// In the layout that the configured model prefers there.
BatchFormat batch_format(const Config& config, at::Device device);
FlatOptions flat_options(const Config& config, const BatchFormat& format);

// The configured model, initialised from the seed, for the set's classes and image size, on the
// device.
std::shared_ptr<ImageClassifier> model_on_device(const Config& config,
                                                 const ImageSetInfo& info,
                                                 at::Device device);

}  // namespace lockstep
