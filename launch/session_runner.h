// Runs a command as a member of an MPI job, and turns what it throws into one message and an exit
// code.
#pragma once

#include <functional>

#include "distributed/mpi_session.h"

namespace lockstep {

// Watchdog, then session, then `body`, whose result is the exit code. An AgreedError is printed by
// rank 0 alone and ends the job in good order; anything else is printed by the rank it happened on
// and ends the whole job at once. `early_failure`: what went wrong before MPI could be started
// (null: nothing); all ranks then fail together.
int run_in_session(int* argc,
                   char*** argv,
                   const std::function<int(MpiSession&)>& body,
                   std::exception_ptr early_failure = nullptr);

}  // namespace lockstep
