// What `train --dry-run` tells: where and how a run would go.
#pragma once

#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/comm/topology.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/distributed/setup/image_store.h"

namespace lockstep {

// World, data, updates, each rank's device, slice and memory. `devices`: by rank. `end`: of the one
// update that was run.
void print_plan(const StartReport& plan,
                const Config& config,
                const ImageStore& store,
                const Topology& topology,
                const std::vector<std::string>& devices,
                const EndReport& end);

}  // namespace lockstep
