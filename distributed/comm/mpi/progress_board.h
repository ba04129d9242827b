// What each rank of this host does, in shared memory, so that a watchdog can name the rank that is
// missing.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lockstep/distributed/comm/topology.h"

namespace lockstep {

// Every local rank writes its own entry (operation number, label, whether it is still under way,
// time) and reads those of its host; what other hosts' ranks do is not known here.
class ProgressBoard {
 public:
  // `local`: the ranks of this host, in the order of their local ranks. Collective over the host.
  ProgressBoard(MPI_Comm local, const Topology& topology);
  // Collective over the host, unless MPI has ended or an exception is under way.
  ~ProgressBoard();
  ProgressBoard(const ProgressBoard&) = delete;
  ProgressBoard& operator=(const ProgressBoard&) = delete;

  // Costs some stores to this rank's own cache lines. `label` is cut to 47 bytes.
  void publish(int64_t operation, std::string_view label, bool begins);
  // This rank leaves the job in good order.
  void publish_end();
  // Names the ranks that are not in `label`: "rank 1 on host b is missing: it last finished
  // operation 7 'control record' and has been silent for 12.0 s".
  std::string explain(std::string_view label) const;
  // Whether the process of another rank of this host is stopped, or has ended before publish_end().
  bool peer_is_lost() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
