// Calling MPI: errors as exceptions, waits under the watchdog.
#pragma once

#include <mpi.h>

#include <span>
#include <string_view>

#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// Throws Error(kInternal) with MPI's own text when `code`, returned by a call within the operation
// `label`, is an error.
void check_mpi(int code, std::string_view label);

// False before MPI_Init and after MPI_Finalize, when resources can no longer be given back.
bool mpi_is_running();

// Waits for nonblocking operations under the watchdog's deadline, testing them in turn: a blocking
// MPI call would spin.
void wait_for_requests(std::span<MPI_Request> requests, Watchdog& watchdog, std::string_view label);
inline void wait_for_request(MPI_Request& request, Watchdog& watchdog, std::string_view label) {
  wait_for_requests({&request, 1}, watchdog, label);
}

}  // namespace lockstep
