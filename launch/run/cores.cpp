#include "lockstep/launch/run/cores.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <memory>

namespace lockstep {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;  // of a mask: eight million cores

bool holds(const CoreMask& mask, size_t core) {
  return core / 8 < mask.size() && (static_cast<unsigned char>(mask[core / 8]) >> core % 8 & 1) > 0;
}

CoreMask first_cores(size_t count) {
  CoreMask mask((count + 7) / 8, '\0');
  for (size_t core = 0; core < count; ++core)
    mask[core / 8] = static_cast<char>(mask[core / 8] | 1 << core % 8);
  return mask;
}

}  // namespace

CoreMask allowed_cores(GetAffinity get) {
  for (size_t bytes = sizeof(cpu_set_t); bytes <= kMostBytes; bytes *= 2) {
    const auto words = std::make_unique<unsigned long[]>(bytes / sizeof(unsigned long));
    if (get(0, bytes, reinterpret_cast<cpu_set_t*>(words.get())) == 0)
      return CoreMask(reinterpret_cast<const char*>(words.get()), bytes);
    if (errno != EINVAL) break;
  }
  return first_cores(static_cast<size_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))));
}

std::vector<int> cores_in(const CoreMask& mask) {
  std::vector<int> cores;
  for (size_t core = 0; core < 8 * mask.size(); ++core) {
    if (holds(mask, core)) cores.push_back(static_cast<int>(core));
  }
  return cores;
}

int count_cores(const CoreMask& mask) {
  int count = 0;
  for (const char byte : mask) count += std::popcount(static_cast<unsigned char>(byte));
  return count;
}

int share_of_cores(const CoreMask& own, const std::vector<CoreMask>& all_on_host) {
  double share = 1e-6;  // of rounding
  for (size_t core = 0; core < 8 * own.size(); ++core) {
    if (!holds(own, core)) continue;
    const auto users = std::ranges::count_if(
        all_on_host, [core](const CoreMask& mask) { return holds(mask, core); });
    share += 1.0 / static_cast<double>(std::max<int64_t>(1, users));
  }
  return std::max(1, static_cast<int>(share));
}

}  // namespace lockstep
