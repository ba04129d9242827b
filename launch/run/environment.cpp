#include "lockstep/launch/run/environment.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "lockstep/data/image_set/hdf5_file.h"
#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/distributed/setup/processor.h"
#include "lockstep/launch/run/cores.h"

namespace lockstep {

const char* lockstep_version() { return LOCKSTEP_VERSION; }

std::string processor_name() {
  const std::string name = processor_field("model name");
  return name.empty() ? "unknown" : name;
}

int available_cores() { return count_cores(allowed_cores()); }

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
                                       {"cuda", cuda_version()},
                                       {"cuda_driver", cuda_driver_version()},
                                       {"cudnn", cudnn_version()},
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
  const CoreMask own = allowed_cores();
  const std::vector<CoreMask> all = session.control().all_gather(own, "sharing out the cores");
  const Topology& topology = session.topology();
  std::vector<CoreMask> on_host;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (topology.host_of_rank[rank] == topology.host_index) on_host.push_back(all[rank]);
  }
  at::set_num_interop_threads(1);
  if (std::getenv("OMP_NUM_THREADS") == nullptr) at::set_num_threads(share_of_cores(own, on_host));
}

}  // namespace lockstep
