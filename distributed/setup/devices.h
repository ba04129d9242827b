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
  std::string note;         // for people, what they should know of the choice; mostly empty
};

// The GPUs that each rank sees, and the reasons of those that see none: what all ranks know of all
// ranks, so that all come to the same verdict.
struct VisibleGpus {
  std::vector<int> counts;
  std::vector<std::string> reasons;
  std::vector<bool> installed;  // whether the rank's host has one, of use or not
};

// Whether the job runs on GPUs: one decision for all ranks. Throws Error(kUsage), naming rank, host
// and reason, where device=cuda meets a rank without a GPU, and where device=auto meets ranks with
// and without: the slowest rank sets the pace of all, so that neither kind is meant by itself.
bool job_uses_gpus(const Config& config, const Topology& topology, const VisibleGpus& gpus);

// What device=auto tells where a job that runs on CPUs could have a GPU of its hosts (an old
// driver, an empty CUDA_VISIBLE_DEVICES); empty: nothing.
std::string unused_gpu_note(const Config& config,
                            const Topology& topology,
                            const VisibleGpus& gpus);

// What the CPU kernels run on: "CPU, 2 threads, AVX2".
std::string describe_cpu();

// Chooses this rank's device (config.device, config.distributed.backend) and makes it current: one
// visible GPU -> 0, else the local rank. All ranks agree on the verdict: Error(kUsage) on every
// rank for more ranks than GPUs on a host, two ranks on one physical GPU (UUIDs), ranks that differ
// in kind, NCCL without GPUs or with shared ones. Collective.
DeviceChoice choose_device(const Config& config, Session& session);

}  // namespace lockstep
