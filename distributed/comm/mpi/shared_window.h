// Memory that the ranks of one host share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "lockstep/distributed/comm/mpi/mpi_session.h"

namespace lockstep {

// An MPI-3 shared-memory window (MPI_Win_allocate_shared), owned by local rank 0. Collective to
// make and to destroy.
class SharedWindow {
 public:
  // Checks free space in /dev/shm on every host first and agrees on the verdict:
  // Error(kInputOutput) on every rank, naming host, needed and free bytes, and data.cache=stream as
  // the way out.
  SharedWindow(MpiSession& session, int64_t bytes);
  ~SharedWindow();
  std::span<uint8_t> bytes() const;
  // Makes what every local rank has written visible to all of them. Collective over the host.
  void synchronise();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
