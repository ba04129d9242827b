#include "lockstep/distributed/comm/mpi/owned_comm.h"

#include <exception>
#include <utility>

#include "lockstep/distributed/comm/mpi/mpi_calls.h"

namespace lockstep {

OwnedComm::OwnedComm(MPI_Comm comm) : comm_(comm) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
}

OwnedComm::OwnedComm(OwnedComm&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

OwnedComm& OwnedComm::operator=(OwnedComm&& other) noexcept {
  std::swap(comm_, other.comm_);
  return *this;
}

OwnedComm::~OwnedComm() {
  // Freeing is collective: while an exception unwinds, the peers are elsewhere.
  if (comm_ != MPI_COMM_NULL && mpi_is_running() && std::uncaught_exceptions() == 0) {
    MPI_Comm_free(&comm_);
  }
}

OwnedComm OwnedComm::duplicate(MPI_Comm comm, Watchdog& watchdog, std::string_view label) {
  const Watchdog::Guard guard = watchdog.watch(label);
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(comm, &copy), label);
  return OwnedComm(copy);
}

}  // namespace lockstep
