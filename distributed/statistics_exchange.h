// Synchronised batch norm's sums over ranks.
#pragma once

#include <memory>

#include "core/step_context.h"
#include "distributed/communicator.h"

namespace lockstep {

// Sums over all ranks of `communicator`, which must outlive it and carry nothing else: sharing it
// with the gradients would let overlap reorder the two.
std::unique_ptr<StatisticsExchange> make_statistics_exchange(Communicator& communicator);

}  // namespace lockstep
