// From MPI_Init to MPI_Finalize, whatever the environment holds.
#pragma once

#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// Initialises MPI (thread multiple) unless the host program has; returns whether it did. A process
// that is alone needs no launcher: neither ssh nor rsh in PATH, nor Slurm's PMIx, nor TMPDIR. (Open
// MPI then cannot spawn: a program that does so initialises MPI itself.) Throws Error(kUsage) where
// MPI cannot be used, with the way out.
bool start_mpi(int* argc, char*** argv, Watchdog& watchdog);
void end_mpi(Watchdog& watchdog);

// Error(kUsage) for a task of several, as `variable` says, of which each would train alone.
[[noreturn]] void refuse_unconnected_task(const char* variable);

}  // namespace lockstep
