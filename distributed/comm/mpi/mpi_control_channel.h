// The control plane over MPI.
#pragma once

#include <mpi.h>

#include <memory>

#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// Over a duplicate of `world`. Collective. The watchdog must outlive the channel.
std::unique_ptr<ControlChannel> make_mpi_control_channel(MPI_Comm world, Watchdog& watchdog);

}  // namespace lockstep
