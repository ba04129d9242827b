#include "launch/environment.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <sched.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace lockstep {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name"))
      return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

int available_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string environment_json(MpiSession& session, const DeviceChoice& device) {
  const Topology& topology = session.topology();
  const auto devices = session.control().all_gather(device.description, "naming the devices");
  const nlohmann::ordered_json json = {{"lockstep", LOCKSTEP_VERSION},
                                       {"libtorch", TORCH_VERSION},
                                       {"compiler", __VERSION__},
                                       {"mpi", session.library_version()},
                                       {"processor", processor_name()},
                                       {"threads_per_rank", at::get_num_threads()},
                                       {"world_size", topology.world_size},
                                       {"hosts", topology.host_names},
                                       {"host_of_rank", topology.host_of_rank},
                                       {"backend", device.backend},
                                       {"devices", devices}};
  return json.dump(2) + "\n";
}

void tune_allocator() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
}

void choose_threads(const Topology& topology) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  // A bound rank sees its own cores only; unbound ranks share what they all see.
  const int cores = available_cores();
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  const bool bound = cores < online;
  at::set_num_threads(std::max(1, bound ? cores : cores / topology.local_size));
}

}  // namespace lockstep
