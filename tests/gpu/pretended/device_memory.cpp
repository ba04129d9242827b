#include "tests/gpu/pretended/device_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>

namespace lockstep::pretended {
namespace {

constexpr size_t kBytesADevice = size_t{4} << 30;  // sparse
constexpr size_t kBytes = kBytesADevice * kMostDevices;
constexpr size_t kAlignment = 512, kGap = 4096;

size_t rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Made on first use: LibTorch registers its kernels before anything here is initialised. Never
// unmade: other threads may be at work until the very end.
struct Memory {
  std::mutex mutex;
  char* device = nullptr;  // what programs see
  char* work = nullptr;    // the same pages, for device work
  char* unused[kMostDevices];
  std::map<char*, size_t, std::less<>> allocated;
  std::multimap<size_t, char*> spare[kMostDevices];
  std::map<char*, size_t, std::less<>> pinned;

  Memory() {
    const int file = memfd_create("pretended-gpu", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, kBytes) != 0) fail("no memory to stand for a device's");
    const auto map = [&](int protection) {
      void* at = mmap(nullptr, kBytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
      if (at == MAP_FAILED) fail("no addresses to stand for a device's");
      return static_cast<char*>(at);
    };
    device = map(PROT_NONE);
    work = map(PROT_READ | PROT_WRITE);
    for (size_t d = 0; d < kMostDevices; ++d) unused[d] = device + d * kBytesADevice;
  }
};

Memory& memory() {
  static auto* made = new Memory;
  return *made;
}

// The range of `ranges` that `address` lies in, or their end.
template <typename Ranges>
auto range_of(Ranges& ranges, const void* address) {
  auto it = ranges.upper_bound(static_cast<const char*>(address));
  if (it == ranges.begin()) return ranges.end();
  --it;
  return static_cast<const char*>(address) < it->first + it->second ? it : ranges.end();
}

}  // namespace

void fail(const char* what) {
  std::fprintf(stderr, "pretended GPU: %s\n", what);
  std::abort();
}

void* allocate(int device, size_t bytes) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  auto& spare = m.spare[device];
  char* at = nullptr;
  if (const auto it = spare.find(rounded(bytes)); it != spare.end()) {
    at = it->second;
    spare.erase(it);
  } else {
    at = m.unused[device];
    const char* end = m.device + kBytesADevice * (static_cast<size_t>(device) + 1);
    if (at + rounded(bytes) + kGap > end) return nullptr;
    m.unused[device] += rounded(bytes) + kGap;
  }
  m.allocated[at] = bytes;
  std::memset(m.work + (at - m.device), 0xFF, bytes);
  return at;
}

void release(void* address) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto it = m.allocated.find(static_cast<char*>(address));
  if (it == m.allocated.end()) fail("cudaFree of what is not allocated");
  m.spare[device_of(address)].emplace(rounded(it->second), it->first);
  m.allocated.erase(it);
}

bool is_device_memory(const void* address) {
  const Memory& m = memory();
  return address >= m.device && address < m.device + kBytes;
}

int device_of(const void* address) {
  const auto offset = static_cast<size_t>(static_cast<const char*>(address) - memory().device);
  return static_cast<int>(offset / kBytesADevice);
}

void check_range(const void* address, size_t bytes, const char* user) {
  if (!is_device_memory(address) || bytes == 0) return;
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto it = range_of(m.allocated, address);
  if (it != m.allocated.end() &&
      static_cast<const char*>(address) + bytes <= it->first + it->second)
    return;
  std::fprintf(stderr, "%s: ", user);
  fail("device memory that is not allocated");
}

void* mapped(const void* address) {
  const Memory& m = memory();
  if (!is_device_memory(address)) return const_cast<void*>(address);
  return m.work + (static_cast<const char*>(address) - m.device);
}

void map_addresses(void* bytes, size_t size) {
  auto* at = static_cast<char*>(bytes);
  for (size_t i = 0; i + sizeof(void*) <= size; i += sizeof(void*)) {
    uintptr_t word = 0;
    std::memcpy(&word, at + i, sizeof word);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it may be any number
    word = reinterpret_cast<uintptr_t>(mapped(reinterpret_cast<const void*>(word)));
    std::memcpy(at + i, &word, sizeof word);
  }
}

void* allocate_pinned(size_t bytes) {
  Memory& m = memory();
  void* made = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(made, 0xFF, bytes);
  const std::lock_guard lock(m.mutex);
  m.pinned[static_cast<char*>(made)] = bytes;
  return made;
}

void release_pinned(void* address) {
  Memory& m = memory();
  {
    const std::lock_guard lock(m.mutex);
    m.pinned.erase(static_cast<char*>(address));
  }
  std::free(address);
}

bool is_pinned(const void* address) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  return range_of(m.pinned, address) != m.pinned.end();
}

}  // namespace lockstep::pretended
