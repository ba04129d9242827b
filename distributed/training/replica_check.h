// Whether the ranks still hold the same state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/core/training/state_digests.h"
#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/control_channel.h"

namespace lockstep {

// Every rank's digests of the same parts, [parts] each. Empty: all ranks have the same; else who
// has what, for people: "rank 2 holds another layer1.0.conv1.weight (and 3 more) than the other 3
// ranks"; where neither side has most ranks, both are named.
std::string describe_difference(const std::vector<std::string>& names,
                                const std::vector<std::vector<uint64_t>>& digests_of_rank);

// Compares what all ranks hold now. The same text on every rank, as above. Collective: one short
// message a rank, and one of all digests where they differ.
std::string compare_replicas(const StateDigests& state,
                             Communicator& communicator,
                             ControlChannel& control);

// This rank's digests, on the host.
std::vector<uint64_t> read_digests(const StateDigests& state, Communicator& communicator);

}  // namespace lockstep
