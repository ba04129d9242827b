// Ranks as processes of an MPI job.
#pragma once

#include <memory>
#include <string>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// Initialises MPI (thread multiple) unless the caller has, and finalises it only if it initialised
// it. All communicators return errors instead of aborting. Refuses the silent "N times rank 0 of 1"
// start: when the launcher (Slurm, Open MPI) says that there are several tasks and MPI sees one,
// throws Error(kUsage) with the fix. Destroyed during a failure it aborts the job instead of
// finalising.
class MpiSession final : public Session {
 public:
  // Labels, deadlines and what is known of the peers go through `watchdog`, which must outlive the
  // session. Collective over MPI_COMM_WORLD.
  MpiSession(int* argc, char*** argv, Watchdog& watchdog);
  ~MpiSession() override;

  const Topology& topology() const override;
  Watchdog& watchdog() override;
  ControlChannel& control() override;
  std::string library_version() const override;  // "Open MPI v4.1.4", "MPICH Version: 5.0.2"
  // A shared window: see mpi/shared_window.h.
  std::unique_ptr<SharedMemory> share_memory(int64_t bytes) override;

  // Ends the whole job now with `exit_code` (MPI_Abort behind a fallback that cannot hang). Never
  // returns.
  [[noreturn]] void abort(int exit_code);

  struct Impl;  // of the files that call MPI

 private:
  friend Impl& impl_of(Session& session);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
