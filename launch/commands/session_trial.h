// A session in a process of its own: an MPI that cannot start ends the process that asked it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

struct SessionTrial {
  std::optional<int> code;  // what the session ended with; nothing where it did not start
  std::string said;         // by MPI, or by us, instead of starting
};

// run_in_session in a child process. What it writes before the session has started is caught, the
// rest goes where this process writes. Threads and devices must not be in use yet.
SessionTrial try_in_session(int* argc, char*** argv, const std::function<int(Session&)>& body);

}  // namespace lockstep
