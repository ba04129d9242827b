// The memory of pretended GPUs: addresses that the host cannot touch, and that device work reaches
// through a second mapping of the same pages.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep::pretended {

// Ends the process with one line: what a real GPU would answer with an error, or silently do wrong.
[[noreturn]] void fail(const char* what);

constexpr int kMostDevices = 8;

// From the memory of `device`, filled with 0xFF (NaN as a float); null when it is used up.
void* allocate(int device, size_t bytes);
void release(void* memory);

bool is_device_memory(const void* address);
int device_of(const void* address);  // of device memory
// Fails unless `bytes` bytes from `address` lie within one allocation, where it is device memory.
void check_range(const void* address, size_t bytes, const char* user);

// Where device work finds what stands at an address of device memory; other addresses stay.
void* mapped(const void* address);
template <typename T>
T* mapped_as(const T* address) {
  return static_cast<T*>(mapped(address));
}
// The same for every word of `bytes` that is an address of device memory: a kernel's arguments.
void map_addresses(void* bytes, size_t size);

// Pinned memory of the host.
void* allocate_pinned(size_t bytes);
void release_pinned(void* memory);
bool is_pinned(const void* address);

}  // namespace lockstep::pretended
