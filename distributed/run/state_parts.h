// What of a run is the same on every rank, as memory under the names that checkpoints use.
#pragma once

#include <vector>

#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/core/training/state_digests.h"

namespace lockstep {

// Between updates: weights ("conv1.weight"), buffers ("bn1.running_mean"), optimizer state
// ("momentum/conv1.weight", "step"), averages ("average/conv1.weight"). Buffers that are no whole
// 32-bit words are left out.
std::vector<StatePart> replicated_state(const torch::nn::Module& model,
                                        FlatParameters& parameters,
                                        Optimizer& optimizer,
                                        const WeightAverage* average);

// The last update's mean gradient ("gradient/conv1.weight"), without frozen parameters'.
std::vector<StatePart> gradient_parts(FlatParameters& parameters);

}  // namespace lockstep
