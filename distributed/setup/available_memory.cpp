#include "lockstep/distributed/setup/available_memory.h"

#ifdef LOCKSTEP_WITH_CUDA
#include <c10/core/DeviceGuard.h>
#include <cuda_runtime.h>
#endif

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// nullopt: no such file, or a word such as "max" in it.
std::optional<int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  int64_t value = 0;
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

// The number after `name` in a file of "name number" lines.
std::optional<int64_t> read_entry(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    int64_t value = 0;
    if (words >> key >> value && key == name) return value;
  }
  return std::nullopt;
}

// The files of one version of control groups.
struct GroupFiles {
  const char* mount;
  const char* limit;
  const char* soft_limit;  // above it the group's processes are made to wait; nullptr: none
  const char* usage;
  const char* droppable;  // of memory.stat
};

constexpr GroupFiles kVersion2{
    "sys/fs/cgroup", "memory.max", "memory.high", "memory.current", "inactive_file"};
constexpr GroupFiles kVersion1{"sys/fs/cgroup/memory",
                               "memory.limit_in_bytes",
                               nullptr,
                               "memory.usage_in_bytes",
                               "total_inactive_file"};

int64_t left_in_group(const fs::path& folder, const GroupFiles& files) {
  int64_t limit = read_number(folder / files.limit).value_or(kUnlimited);
  if (files.soft_limit)
    limit = std::min(limit, read_number(folder / files.soft_limit).value_or(kUnlimited));
  const auto usage = read_number(folder / files.usage);
  if (limit == kUnlimited || !usage) return kUnlimited;
  const int64_t droppable = read_entry(folder / "memory.stat", files.droppable).value_or(0);
  return std::max<int64_t>(0, limit - std::max<int64_t>(0, *usage - droppable));
}

// A group and all above it: each limits what is below. Inside a container the path may be the
// host's, which is not there; the mount's top is the container's own group then.
int64_t left_in_groups(const fs::path& mount, fs::path group, const GroupFiles& files) {
  int64_t left = left_in_group(mount, files);
  for (group = group.relative_path(); !group.empty(); group = group.parent_path())
    left = std::min(left, left_in_group(mount / group, files));
  return left;
}

struct GpuMemory {
  int64_t free, total;  // bytes
};

GpuMemory memory_of_gpu(at::Device device) {
#ifdef LOCKSTEP_WITH_CUDA
  const c10::DeviceGuard guard(device);
  size_t free = 0, total = 0;
  const cudaError_t status = cudaMemGetInfo(&free, &total);
  if (status != cudaSuccess) {
    throw_error(ExitCode::kInternal,
                "the free memory of {} cannot be read: {}",
                device.str(),
                cudaGetErrorString(status));
  }
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
#else
  throw_error(ExitCode::kInternal, "no memory is known for {}", device.str());
#endif
}

}  // namespace

int64_t available_host_bytes(const std::string& root) {
  const fs::path top(root);
  const auto kibibytes = read_entry(top / "proc/meminfo", "MemAvailable:");
  if (!kibibytes) {
    throw_error(ExitCode::kInternal,
                "{}proc/meminfo does not say how much memory is available: give "
                "validation.batch_size a number instead of auto",
                root);
  }
  int64_t available = *kibibytes * 1024;
  std::ifstream groups(top / "proc/self/cgroup");
  // Lines are hierarchy:controllers:path; version 2 names no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      available = std::min(available, left_in_groups(top / kVersion2.mount, path, kVersion2));
    } else if (controllers.find(",memory,") != controllers.npos) {
      available = std::min(available, left_in_groups(top / kVersion1.mount, path, kVersion1));
    }
  }
  return available;
}

int64_t available_bytes(at::Device device) {
  return device.is_cpu() ? available_host_bytes() : memory_of_gpu(device).free;
}

int64_t total_bytes_of_gpu(at::Device device) { return memory_of_gpu(device).total; }

}  // namespace lockstep
