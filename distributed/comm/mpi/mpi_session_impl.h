// What the files that call MPI know of the session.
#pragma once

#include <mpi.h>

#include <memory>

#include "lockstep/distributed/comm/mpi/mpi_session.h"
#include "lockstep/distributed/comm/mpi/owned_comm.h"
#include "lockstep/distributed/comm/mpi/progress_board.h"

namespace lockstep {

struct MpiSession::Impl {
  explicit Impl(Watchdog& watchdog_in) : watchdog(watchdog_in) {}
  Watchdog& watchdog;
  bool initialised_here = false;
  int exceptions_at_start = 0;
  OwnedComm world;  // of our own, so that messages of a user's program never mix with ours
  OwnedComm local;  // the ranks of this host
  Topology topology;
  std::unique_ptr<ControlChannel> control;
  std::unique_ptr<ProgressBoard> board;
};

// The session must be an MpiSession.
MpiSession::Impl& impl_of(Session& session);

}  // namespace lockstep
