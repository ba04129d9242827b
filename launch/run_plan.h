// What `train --dry-run` tells: where and how a run would go.
#pragma once

#include <string>
#include <vector>

#include "core/config.h"
#include "distributed/image_store.h"
#include "distributed/mpi_session.h"
#include "distributed/training_observer.h"

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
