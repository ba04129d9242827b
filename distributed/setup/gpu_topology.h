// How the GPUs, cores and network adapters of this host hang together.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

namespace lockstep {

// The NUMA node that a GPU hangs on; -1: the host has one alone, or does not say. `root`: where
// /sys is found, here and below.
int numa_node_of_gpu(at::Device device, const std::string& root = "/");

// In rising order, the NUMA nodes that these cores belong to.
std::vector<int> numa_nodes_of(std::span<const int> cores, const std::string& root = "/");

// Of all pairs of this host's visible GPUs, those that reach each other's memory directly, over
// NVLink or PCIe.
struct GpuPairs {
  int direct = 0, all = 0;
};
GpuPairs gpu_pairs();

// InfiniBand and RoCE adapters by name, in order.
std::vector<std::string> fast_network_adapters(const std::string& root = "/");

}  // namespace lockstep
