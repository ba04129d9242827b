// The mpirun command that starts ranks of this program.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

enum class MpiLauncher { kOpenMpi, kMpich };

// By what `mpirun --version` says. Throws Error(kUsage) where there is no such program.
MpiLauncher identify_launcher(const std::string& mpirun);

// A host and how many ranks it takes.
struct RankHost {
  std::string name;
  int ranks = 1;
};

// "node1:4,node2:4". Throws Error(kUsage) for a host that does not say how many ranks it takes.
std::vector<RankHost> parse_hosts(const std::string& text);

struct RanksToStart {
  int ranks = 1;
  std::vector<RankHost> hosts;  // empty: this one
  int cores = 1;                // that this process may run on; of several hosts unknown
  int numa_nodes = 1;           // likewise
  bool as_root = false;
};

// mpirun with its options, before the program. A host's ranks are bound to NUMA nodes where it has
// several of those and each gets a rank, else to nothing: each rank takes its share of the cores
// (choose_threads).
std::vector<std::string> mpirun_command(const std::string& mpirun,
                                        MpiLauncher launcher,
                                        const RanksToStart& start);

// Of this host, by the kernel's list; 1 where there is none.
int count_numa_nodes();

}  // namespace lockstep
