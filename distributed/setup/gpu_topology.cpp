#include "lockstep/distributed/setup/gpu_topology.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#ifdef LOCKSTEP_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// -1: not a number.
int number_of(std::string_view text) {
  int value = -1;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc{} ? value : -1;
}

// "0-15,32-47", as the kernel writes sets of cores.
bool list_holds(std::string_view list, int core) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view range = list.substr(0, comma);
    const size_t dash = range.find('-');
    const int first = number_of(range.substr(0, dash));
    const int last = dash == range.npos ? first : number_of(range.substr(dash + 1));
    if (first >= 0 && core >= first && core <= last) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// Names in a folder; none where it is not there.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

}  // namespace

int numa_node_of_gpu([[maybe_unused]] at::Device device, [[maybe_unused]] const std::string& root) {
#ifdef LOCKSTEP_WITH_CUDA
  std::array<char, 32> id{};
  if (cudaDeviceGetPCIBusId(id.data(), static_cast<int>(id.size()), device.index()) != cudaSuccess)
    return -1;
  std::string address = id.data();
  std::ranges::transform(
      address, address.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return number_of(first_line(fs::path(root) / "sys/bus/pci/devices" / address / "numa_node"));
#else
  return -1;
#endif
}

std::vector<int> numa_nodes_of(std::span<const int> cores, const std::string& root) {
  const fs::path folder = fs::path(root) / "sys/devices/system/node";
  std::set<int> nodes;
  for (const std::string& name : names_in(folder)) {
    if (!name.starts_with("node")) continue;
    const int node = number_of(std::string_view(name).substr(4));
    const std::string list = first_line(folder / name / "cpulist");
    if (node >= 0 && std::ranges::any_of(cores, [&](int core) { return list_holds(list, core); }))
      nodes.insert(node);
  }
  return {nodes.begin(), nodes.end()};
}

GpuPairs gpu_pairs() {
  GpuPairs pairs;
#ifdef LOCKSTEP_WITH_CUDA
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return pairs;
  for (int a = 0; a < count; ++a) {
    for (int b = a + 1; b < count; ++b, ++pairs.all) {
      int there = 0, back = 0;
      const bool asked = cudaDeviceCanAccessPeer(&there, a, b) == cudaSuccess &&
                         cudaDeviceCanAccessPeer(&back, b, a) == cudaSuccess;
      if (asked && there != 0 && back != 0) ++pairs.direct;
    }
  }
#endif
  return pairs;
}

std::vector<std::string> fast_network_adapters(const std::string& root) {
  return names_in(fs::path(root) / "sys/class/infiniband");
}

}  // namespace lockstep
