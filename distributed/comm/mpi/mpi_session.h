// One process's membership in an MPI job.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

struct Topology {
  int rank = 0, world_size = 1;
  int local_rank = 0, local_size = 1;   // among the ranks of this host
  int host_index = 0, num_hosts = 1;    // hosts numbered by their lowest rank
  std::vector<std::string> host_names;  // by host index
  std::vector<int> host_of_rank;
};

// Initialises MPI (thread multiple) unless the caller has, and finalises it only if it initialised
// it. All communicators return errors instead of aborting. Refuses the silent "N times rank 0 of 1"
// start: when the launcher (Slurm, Open MPI) says that there are several tasks and MPI sees one,
// throws Error(kUsage) with the fix. Order of life: Watchdog, then MpiSession, then everything that
// communicates. Destroyed during a failure it aborts the job instead of finalising.
class MpiSession {
 public:
  // `progress`: boards, labels and deadlines go through `watchdog`, which must outlive the session.
  MpiSession(int* argc, char*** argv, Watchdog& watchdog);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  const Topology& topology() const;
  Watchdog& watchdog();
  std::string library_version() const;  // of MPI: "Open MPI v4.1.4, …"
  ControlChannel& control();

  // A data-plane communicator of its own over all ranks, for CPU tensors, or for CUDA tensors
  // staged through pinned host memory. Collective.
  std::unique_ptr<Communicator> make_mpi_communicator(at::Device device);
  // Over NCCL, on this rank's CUDA device; the id travels by MPI. Collective. Throws Error(kUsage)
  // in a build without NCCL.
  std::unique_ptr<Communicator> make_nccl_communicator(at::Device device);

  // Ends the whole job now with `exit_code` (MPI_Abort behind a fallback that cannot hang). Never
  // returns.
  [[noreturn]] void abort(int exit_code);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
