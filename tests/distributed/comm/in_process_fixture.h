// A rank among threads of the test's process, with the channels that training uses.
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <functional>
#include <memory>

#include "lockstep/distributed/comm/in_process/in_process_session.h"

namespace lockstep::test {

struct InProcessRank {
  explicit InProcessRank(Session& s)
      : session(s),
        rank(s.topology().rank),
        world_size(s.topology().world_size),
        gradients(s.make_communicator("in-process", at::kCPU)),
        statistics(s.make_communicator("in-process", at::kCPU)),
        control(&s.control()) {}

  Session& session;
  int rank, world_size;
  std::unique_ptr<Communicator> gradients;   // one channel for gradients
  std::unique_ptr<Communicator> statistics;  // one for batch-norm statistics
  ControlChannel* control;
};

// One computing thread a rank, whatever the machine has.
inline void run_sessions(int world_size, const std::function<void(Session&)>& body) {
  Watchdog watchdog(std::chrono::seconds(120));
  run_in_process(world_size, watchdog, [&](Session& session) {
    torch::set_num_threads(1);
    body(session);
  });
}

inline void run_in_process(int world_size, const std::function<void(InProcessRank&)>& body) {
  run_sessions(world_size, [&](Session& session) {
    InProcessRank rank(session);
    body(rank);
  });
}

}  // namespace lockstep::test
