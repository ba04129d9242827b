// What `lockstep --version` prints.
#pragma once

#include <string>

namespace lockstep {

// The versions of Lockstep, LibTorch, MPI, HDF5, NCCL and CUDA, a line each, for people who report
// a fault. MPI need not be initialised.
std::string program_version();

}  // namespace lockstep
