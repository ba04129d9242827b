// The job that the MPI tests run in.
#pragma once

#include <torch/torch.h>

#include "lockstep/distributed/comm/mpi/mpi_session.h"

namespace lockstep::test {

extern MpiSession* session;  // set by mpi_main.cpp before any test

inline int rank() { return session->topology().rank; }
inline int world_size() { return session->topology().world_size; }

}  // namespace lockstep::test
