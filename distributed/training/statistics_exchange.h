// Synchronised batch norm's sums over ranks.
#pragma once

#include <memory>

#include "lockstep/core/nn/step_context.h"
#include "lockstep/distributed/comm/communicator.h"

namespace lockstep {

// Sums over all ranks of `communicator`, which must outlive it and carry nothing else: sharing it
// with the gradients would let overlap reorder the two.
std::unique_ptr<StatisticsExchange> make_statistics_exchange(Communicator& communicator);

}  // namespace lockstep
