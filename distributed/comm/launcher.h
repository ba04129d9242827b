// What the environment says of the launcher (mpirun, srun) that started this process: before MPI is
// asked, or where MPI knows nothing.
#pragma once

#include <cstdint>

namespace lockstep {

// Whether a launcher has started this process as a rank of MPI's: mpirun, or srun with PMI.
bool started_by_launcher();

// This process's number among those started together, also by an srun that connects nothing; 0
// where it is alone.
int64_t launcher_rank();

// The variable that says that several processes were started together, or null.
const char* launcher_of_several();

// Whether this process needs no launcher: none has started it, or srun has as the only task of a
// step, where a shell may start many programs one after another.
bool is_alone();

// Whether Slurm's variables are those of a step: a task of srun, a shell started by srun or salloc.
bool in_slurm_step();

}  // namespace lockstep
