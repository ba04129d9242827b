// Where a rank stands among the others.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct Topology {
  int rank = 0, world_size = 1;
  int local_rank = 0, local_size = 1;   // among the ranks of this host
  int host_index = 0, num_hosts = 1;    // hosts numbered by their lowest rank
  std::vector<std::string> host_names;  // by host index
  std::vector<int> host_of_rank;

  bool is_root() const { return rank == 0; }
  // Name of this rank's host.
  const std::string& host_name() const { return host_names[static_cast<size_t>(host_index)]; }
};

}  // namespace lockstep
