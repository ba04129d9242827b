// Runs a command as a member of an MPI job, and turns what it throws into one message and an exit
// code.
#pragma once

#include <functional>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// Watchdog, then session, then `body`, whose result is the exit code. An AgreedError is printed by
// rank 0 alone and ends the job in good order; anything else is printed by the rank it happened on
// and ends the whole job at once. `prepare` runs before MPI starts, since a process that ends
// before MPI_Init leaves the others waiting: whatever it throws is kept, and all ranks fail
// together.
int run_in_session(int* argc,
                   char*** argv,
                   const std::function<void()>& prepare,
                   const std::function<int(Session&)>& body);

}  // namespace lockstep
