// How much memory this process may still take.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace lockstep {

// Bytes the host still gives this process: MemAvailable of /proc/meminfo, or what the tightest of
// the control groups that hold the process leaves, whichever is less. A group of version 2 leaves
// what is below memory.max and memory.high. Cached file pages that a group could drop
// (inactive_file) count as free. Control groups of version 2 and 1; those that are
// not there set no limit. `root`: where /proc and /sys are found. Throws Error(kInternal) without
// /proc/meminfo.
int64_t available_host_bytes(const std::string& root = "/");

// The same of `device`: a GPU's free memory, or the host's.
int64_t available_bytes(at::Device device);

// All of a GPU's memory, taken or not.
int64_t total_bytes_of_gpu(at::Device device);

}  // namespace lockstep
