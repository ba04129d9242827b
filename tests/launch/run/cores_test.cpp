#include "lockstep/launch/run/cores.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace lockstep {
namespace {

// A host of 1,500 cores that this process may use all of: its mask has 2,048 bits.
int large_host(pid_t, size_t bytes, cpu_set_t* mask) {
  if (bytes < 2048 / 8) {
    errno = EINVAL;
    return -1;
  }
  CPU_ZERO_S(bytes, mask);
  for (size_t core = 0; core < 1500; ++core) CPU_SET_S(core, bytes, mask);
  return 0;
}

int forbidden(pid_t, size_t, cpu_set_t*) {
  errno = EPERM;
  return -1;
}

CoreMask cores(size_t first, size_t count) {
  CoreMask mask(256, '\0');
  for (size_t core = first; core < first + count; ++core)
    mask[core / 8] = static_cast<char>(mask[core / 8] | 1 << core % 8);
  return mask;
}

TEST(Cores, AreThoseThatTheSystemAllows) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) GTEST_SKIP() << "a host of many cores";
  EXPECT_EQ(count_cores(allowed_cores()), CPU_COUNT(&set));
  const std::vector<int> numbers = cores_in(allowed_cores());
  EXPECT_EQ(static_cast<int>(numbers.size()), CPU_COUNT(&set));
  for (const int core : numbers) EXPECT_TRUE(CPU_ISSET(core, &set)) << core;
}

TEST(Cores, AreCountedOnHostsOfMoreThanACpuSetHolds) {
  const CoreMask mask = allowed_cores(&large_host);
  EXPECT_EQ(count_cores(mask), 1500);
  EXPECT_EQ(share_of_cores(mask, {mask}), 1500);
  EXPECT_EQ(share_of_cores(mask, {mask, mask, mask, mask}), 375);
}

TEST(Cores, AreThoseOfTheHostWhereTheSystemDoesNotTell) {
  EXPECT_GE(count_cores(allowed_cores(&forbidden)), 1);
}

TEST(Cores, AreSharedWithThoseThatMayUseThem) {
  const CoreMask low = cores(0, 4), high = cores(1100, 6), both = cores(0, 2);
  EXPECT_EQ(share_of_cores(high, {low, high, both}), 6);  // nobody else's
  EXPECT_EQ(share_of_cores(low, {low, high, both}), 3);   // two alone, two halves
  EXPECT_EQ(share_of_cores(both, {low, high, both}), 1);
  EXPECT_EQ(share_of_cores(cores(0, 1), {low, both, cores(0, 1)}), 1);  // never none
}

}  // namespace
}  // namespace lockstep
