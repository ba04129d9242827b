// A host's shared memory over MPI.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// An MPI-3 shared-memory window (MPI_Win_allocate_shared), owned by local rank 0. Collective to
// make and to destroy. The session must be an MpiSession and outlive it.
class SharedWindow final : public SharedMemory {
 public:
  // Checks free space in /dev/shm on every host first and agrees on the verdict:
  // Error(kInputOutput) on every rank, naming host, needed and free bytes, and data.cache=stream as
  // the way out.
  SharedWindow(Session& session, int64_t bytes);
  ~SharedWindow() override;
  std::span<uint8_t> bytes() const override;
  void synchronise() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
