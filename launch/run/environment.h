// What a run ran on, for environment.json and `doctor`.
#pragma once

#include <string>
#include <vector>

#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/setup/devices.h"

namespace lockstep {

// What each rank computes on, by rank. Collective.
std::vector<std::string> device_names(Session& session, const DeviceChoice& device);

// JSON: versions of Lockstep and its libraries, hosts, ranks, processor, devices. No environment
// variables: they may hold secrets.
std::string environment_json(const Session& session,
                             const std::string& backend,
                             const std::vector<std::string>& devices);

const char* lockstep_version();
std::string processor_name();
// Cores this process may run on.
int available_cores();

// Before the first tensor: glibc keeps the memory of activations instead of giving it back to the
// system after every step (tens of thousands of page faults).
void tune_allocator();

// Before the first tensor: LibTorch uses this rank's share of the cores it may run on, a core that
// several ranks may use counting in parts, unless OMP_NUM_THREADS says otherwise. Collective.
void choose_threads(Session& session);

}  // namespace lockstep
