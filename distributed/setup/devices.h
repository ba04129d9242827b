// One device a rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep {

struct DeviceChoice {
  at::Device device = at::kCPU;
  std::string backend;      // of comm/backends.h
  std::string description;  // "NVIDIA H100 80GB HBM3 (GPU-1234…)", "CPU, 1 thread, AVX-512 BF16"
};

// The GPUs that each rank sees, and the reasons of those that see none: what all ranks know of all
// ranks, so that all come to the same verdict.
struct VisibleGpus {
  std::vector<int> counts;
  std::vector<std::string> reasons;
};

// Whether the job runs on GPUs: one decision for all ranks. Throws Error(kUsage), naming rank, host
// and reason, where device=cuda meets a rank without a GPU, and where device=auto meets ranks with
// and without: the slowest rank sets the pace of all, so that neither kind is meant by itself.
bool job_uses_gpus(const Config& config, const Topology& topology, const VisibleGpus& gpus);

// What the CPU kernels run on: "CPU, 2 threads, AVX2".
std::string describe_cpu();

// Chooses this rank's device (config.device, config.distributed.backend) and makes it current: one
// visible GPU -> 0, else the local rank. All ranks agree on the verdict: Error(kUsage) on every
// rank for more ranks than GPUs on a host, two ranks on one physical GPU (UUIDs), ranks that differ
// in kind, NCCL without GPUs or with shared ones. Collective.
DeviceChoice choose_device(const Config& config, Session& session);

// Of the CUDA runtime, "13.0"; empty in a build without CUDA.
std::string cuda_version();

// Number of CUDA devices, or the reason why there are none ("no NVIDIA driver found").
int visible_gpus(std::string* reason);

}  // namespace lockstep
