// Which memory layout a model runs fastest in: a fixed table, so that nothing measured at run time
// changes a number.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace lockstep {

// True for channels-last activations and weights.
bool prefers_channels_last(const std::string& model, at::ScalarType dtype, at::DeviceType device);

}  // namespace lockstep
