// What a run says of itself before its first update.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/weights/initial_weights.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/distributed/setup/devices.h"
#include "lockstep/distributed/setup/training_data.h"
#include "lockstep/distributed/setup/validation_batch.h"

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
