// Many tensors brought to the host together.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Contiguous copies on the CPU, in the same order, that share no memory with the given tensors,
// which all lie on one device. From a GPU they come in one transfer for each dtype: each transfer
// waits for the device, and a model has hundreds of small tensors.
NamedTensors host_copies(const NamedTensors& tensors);

}  // namespace lockstep
