// What a run says of itself before its first update.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/flat_parameters.h"
#include "core/initial_weights.h"
#include "distributed/devices.h"
#include "distributed/training_data.h"
#include "distributed/training_observer.h"
#include "distributed/validation_batch.h"

namespace lockstep {

// World, device, model and data; where the run stands and what it starts from is left open.
StartReport describe_start(const Config& config,
                           const Topology& topology,
                           const DeviceChoice& device,
                           const TrainingData& data,
                           const FlatParameters& parameters);

// Lines for people: initial weights, frozen parts, a validation batch chosen by memory.
std::vector<std::string> start_notes(const Config& config,
                                     const InitialWeights& weights,
                                     int64_t num_frozen,
                                     const FlatParameters& parameters,
                                     const ValidationBatch& validation);

}  // namespace lockstep
