// Sums of tensors between threads.
#pragma once

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

bool is_in_process_session(const Session& session);

// The session must be one of run_in_process. Collective.
std::unique_ptr<Communicator> make_in_process_communicator(Session& session, at::Device device);

}  // namespace lockstep
