#include "lockstep/launch/run/environment.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <sched.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "lockstep/data/image_set/hdf5_file.h"
#include "lockstep/distributed/comm/backends.h"

namespace lockstep {

const char* lockstep_version() { return LOCKSTEP_VERSION; }

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

std::vector<std::string> device_names(Session& session, const DeviceChoice& device) {
  return session.control().all_gather(device.description, "naming the devices");
}

std::string environment_json(const Session& session,
                             const std::string& backend,
                             const std::vector<std::string>& devices) {
  const Topology& topology = session.topology();
  const nlohmann::ordered_json json = {{"lockstep", lockstep_version()},
                                       {"libtorch", TORCH_VERSION},
                                       {"compiler", __VERSION__},
                                       {"mpi", session.library_version()},
                                       {"hdf5", hdf5_version()},
                                       {"nccl", nccl_version()},
                                       {"processor", processor_name()},
                                       {"threads_per_rank", at::get_num_threads()},
                                       {"world_size", topology.world_size},
                                       {"hosts", topology.host_names},
                                       {"host_of_rank", topology.host_of_rank},
                                       {"backend", backend},
                                       {"devices", devices}};
  return json.dump(2) + "\n";
}

void tune_allocator() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
}

void choose_threads(Session& session) {
  cpu_set_t own;
  if (sched_getaffinity(0, sizeof own, &own) != 0) CPU_ZERO(&own);
  const std::string bytes(reinterpret_cast<const char*>(&own), sizeof own);
  const std::vector<std::string> all = session.control().all_gather(bytes, "sharing out the cores");
  const Topology& topology = session.topology();
  std::vector<int> ranks_on_core(CPU_SETSIZE);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (topology.host_of_rank[rank] != topology.host_index) continue;
    cpu_set_t set;
    std::memcpy(&set, all[rank].data(), sizeof set);
    for (size_t core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) ++ranks_on_core[core];
    }
  }
  double share = 1e-6;  // of rounding
  for (size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &own)) share += 1.0 / ranks_on_core[core];
  }
  at::set_num_interop_threads(1);
  if (std::getenv("OMP_NUM_THREADS") == nullptr)
    at::set_num_threads(std::max(1, static_cast<int>(share)));
}

}  // namespace lockstep
