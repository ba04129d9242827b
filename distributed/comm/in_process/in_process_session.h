// Ranks as threads of one process.
#pragma once

#include <functional>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// Runs `body` on `world_size` (>= 1) threads at once, each a rank with a session of its own; one
// host. Rethrows the first exception after all have ended: a rank that throws, or returns too
// early, makes its peers' operations throw too. Sums are taken in rank order, so every rank gets
// the same bits. What is one a process (signal handlers, LibTorch's number of threads) the ranks
// share.
void run_in_process(int world_size, Watchdog& watchdog, const std::function<void(Session&)>& body);

}  // namespace lockstep
