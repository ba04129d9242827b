// A model's weights (parameters and buffers, torchvision names) to and from named tensors.
#pragma once

#include <string>

#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/weights/host_copies.h"

namespace lockstep {

// Copies on the CPU: float32 masters of the parameters and all buffers, contiguous.
NamedTensors export_weights(const torch::nn::Module& module, const FlatParameters& parameters);

// Copies tensors into the model (in place, so views stay views; float16, bfloat16 and float64 are
// converted) and refreshes the leaves. Throws Error(kBadData) that lists missing, extra and wrongly
// shaped tensors and wrong kinds of numbers, of each the first few and how many more there are;
// then nothing has been changed. `source` names where they come from.
void import_weights(torch::nn::Module& module,
                    FlatParameters& parameters,
                    const NamedTensors& tensors,
                    const std::string& source);

}  // namespace lockstep
