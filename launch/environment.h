// What a run ran on, for environment.json and `doctor`.
#pragma once

#include <string>

#include "distributed/devices.h"
#include "distributed/mpi_session.h"

namespace lockstep {

// JSON: versions of Lockstep and its libraries, hosts, ranks, processor, devices. No environment
// variables: they may hold secrets.
std::string environment_json(MpiSession& session, const DeviceChoice& device);

std::string processor_name();
// Cores this process may run on.
int available_cores();

// Before the first tensor: glibc keeps the memory of activations instead of giving it back to the
// system after every step (tens of thousands of page faults), and LibTorch uses this rank's share
// of the host's cores unless OMP_NUM_THREADS says otherwise.
void tune_allocator();
void choose_threads(const Topology& topology);

}  // namespace lockstep
