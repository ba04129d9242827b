// An MPI communicator that is freed.
#pragma once

#include <mpi.h>

#include <string_view>

#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// Owns a communicator that returns its errors.
class OwnedComm {
 public:
  OwnedComm() = default;
  // Takes over `comm`, which a collective call has just made.
  explicit OwnedComm(MPI_Comm comm);
  OwnedComm(OwnedComm&& other) noexcept;
  OwnedComm& operator=(OwnedComm&& other) noexcept;
  ~OwnedComm();
  MPI_Comm get() const { return comm_; }

  static OwnedComm duplicate(MPI_Comm comm, Watchdog& watchdog, std::string_view label);

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace lockstep
