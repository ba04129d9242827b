// MPI: sums of tensors on CPUs, and on GPUs staged through pinned host memory.
#pragma once

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

bool is_mpi_session(const Session& session);

// Over a duplicate of the session's communicator. Collective.
std::unique_ptr<Communicator> make_mpi_communicator(Session& session, at::Device device);

}  // namespace lockstep
