// Ranks as threads of one process: the third Communicator, for tests.
#pragma once

#include <functional>
#include <memory>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/control_channel.h"

namespace lockstep {

struct InProcessRank {
  int rank = 0, world_size = 1;
  std::unique_ptr<Communicator> gradients;   // one channel for gradients
  std::unique_ptr<Communicator> statistics;  // one for batch-norm statistics
  std::unique_ptr<ControlChannel> control;
};

// Runs `body` on `world_size` threads at once; rethrows the first exception after all have ended (a
// rank that throws makes its peers' operations throw too). Sums are taken in rank order, so every
// rank gets the same bits.
void run_in_process(int world_size, const std::function<void(InProcessRank&)>& body);

}  // namespace lockstep
