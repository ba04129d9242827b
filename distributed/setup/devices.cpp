#include "lockstep/distributed/setup/devices.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <string_view>

#ifdef LOCKSTEP_WITH_CUDA
#include <cuda_runtime.h>
#endif

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/instruction_set.h"
#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/gpus.h"

namespace lockstep {
namespace {

struct Gpu {
  std::string name, uuid;
};

// Makes GPU `index` this process's current one.
Gpu take_gpu([[maybe_unused]] int index) {
#ifdef LOCKSTEP_WITH_CUDA
  cudaDeviceProp properties = {};
  cudaError_t status = cudaSetDevice(index);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, index);
  if (status != cudaSuccess) {
    throw_error(
        ExitCode::kInternal, "GPU {} cannot be used: {}", index, cudaGetErrorString(status));
  }
  std::string uuid = "GPU-";
  for (const char byte : properties.uuid.bytes)
    uuid += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return {properties.name, uuid};
#else
  return {};
#endif
}

std::string place(const Topology& topology, size_t rank) {
  return fmt::format("rank {} on host {}",
                     rank,
                     topology.host_names[static_cast<size_t>(topology.host_of_rank[rank])]);
}

VisibleGpus gather(Session& session) {
  std::string reason;
  const int count = visible_gpus(&reason);
  const bool installed = has_gpu_files();
  VisibleGpus gpus;
  for (const std::string& text : session.control().all_gather(
           fmt::format("{} {:d} {}", count, installed, reason), "counting GPUs")) {
    const size_t first = text.find(' '), second = text.find(' ', first + 1);
    gpus.counts.push_back(std::stoi(text));
    gpus.installed.push_back(text[first + 1] == '1');
    gpus.reasons.push_back(text.substr(second + 1));
  }
  return gpus;
}

DeviceChoice choose_cpu(const Config& config, const Session& session, const VisibleGpus& gpus) {
  const auto reason =
      std::ranges::find_if(gpus.reasons, [](const std::string& r) { return !r.empty(); });
  const TensorPlace place{.no_gpu_reason =
                              config.device == DeviceKind::kCpu || reason == gpus.reasons.end()
                                  ? "device=cpu"
                                  : *reason};
  return {at::kCPU,
          choose_backend(name_of(config.distributed.backend), session, place),
          describe_cpu(),
          unused_gpu_note(config, session.topology(), gpus)};
}

int gpu_index(const Config& config, const Topology& topology, int visible) {
  if (visible == 1)
    return 0;  // the launcher gave each rank its own, or all share it: the UUIDs tell
  if (topology.local_rank < visible) return topology.local_rank;
  if (config.distributed.allow_shared_gpu) return topology.local_rank % visible;
  throw_error(ExitCode::kUsage,
              "host {} has {} ranks and {} GPUs: start at most one rank a GPU",
              topology.host_name(),
              topology.local_size,
              visible);
}

// Whether two ranks hold one physical GPU.
bool check_shared(const Config& config,
                  const Topology& topology,
                  const std::vector<std::string>& uuids) {
  for (size_t a = 0; a < uuids.size(); ++a) {
    const size_t b = static_cast<size_t>(
        std::find(uuids.begin() + static_cast<int64_t>(a) + 1, uuids.end(), uuids[a]) -
        uuids.begin());
    if (b == uuids.size()) continue;
    if (config.distributed.allow_shared_gpu) return true;
    throw_error(ExitCode::kUsage,
                "{} and {} use one GPU ({}): start at most one rank a GPU, and let the launcher "
                "show each rank its own "
                "(Slurm: --gpus-per-task=1)",
                place(topology, a),
                place(topology, b),
                uuids[a]);
  }
  return false;
}

}  // namespace

bool job_uses_gpus(const Config& config, const Topology& topology, const VisibleGpus& gpus) {
  if (config.device == DeviceKind::kCpu) return false;
  const auto num_ranks = static_cast<int64_t>(gpus.counts.size());
  const int64_t num_without = std::ranges::count(gpus.counts, 0);
  if (num_without == 0) return true;
  const bool all_without = num_without == num_ranks;
  if (config.device != DeviceKind::kCuda && all_without) return false;
  const auto first = static_cast<size_t>(std::ranges::find(gpus.counts, 0) - gpus.counts.begin());
  const std::string others =
      all_without ? "" : fmt::format("; {} of {} ranks have none", num_without, num_ranks);
  throw_error(ExitCode::kUsage,
              "device={}, but {} has no GPU: {}{}. Set device=cpu to train on the CPUs of all "
              "hosts, or start ranks only where GPUs are",
              name_of(config.device),
              place(topology, first),
              gpus.reasons[first],
              others);
}

std::string unused_gpu_note(const Config& config,
                            const Topology& topology,
                            const VisibleGpus& gpus) {
  if (config.device != DeviceKind::kAutomatic) return "";
  const auto found = std::ranges::find(gpus.installed, true);
  if (found == gpus.installed.end()) return "";
  const auto rank = static_cast<size_t>(found - gpus.installed.begin());
  return fmt::format(
      "on the CPU, although the host of {} has a GPU: {}. device=cuda stops instead, and "
      "device=cpu does without this line",
      place(topology, rank),
      gpus.reasons[rank]);
}

std::string describe_cpu() {
  const int threads = at::get_num_threads();
  return fmt::format("CPU, {} thread{}, {}",
                     threads,
                     threads == 1 ? "" : "s",
                     kernels::to_string(kernels::instruction_set()));
}

DeviceChoice choose_device(const Config& config, Session& session) {
  const Topology& topology = session.topology();
  const VisibleGpus gpus = gather(session);
  if (!job_uses_gpus(config, topology, gpus)) return choose_cpu(config, session, gpus);

  DeviceChoice choice;
  Gpu gpu;
  agree(session.control(), "choosing a GPU", [&] {
    const int index = gpu_index(config, topology, gpus.counts[static_cast<size_t>(topology.rank)]);
    gpu = take_gpu(index);
    choice.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    choice.description = fmt::format("{} ({})", gpu.name, gpu.uuid);
  });
  const bool shared =
      check_shared(config, topology, session.control().all_gather(gpu.uuid, "comparing GPUs"));
  choice.backend = choose_backend(name_of(config.distributed.backend),
                                  session,
                                  {.gpu = true, .shared_gpu = shared, .no_gpu_reason = ""});
  return choice;
}

}  // namespace lockstep
