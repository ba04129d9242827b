// The emulator itself: right kernels give the right numbers in any order, and each planted fault is
// caught.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/emulator/planted_faults.h"
#include "tests/gpu/kernels/guarded_memory.h"

namespace lockstep::emulator {
namespace {

std::vector<int> run_mirror(Fault fault) {
  std::vector<int> in(64), out(64, -1);
  std::iota(in.begin(), in.end(), 100);
  mirror(fault, in.data(), out.data());
  return out;
}

TEST(Emulator, RunsAKernelInAnyOrder) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    set_seed(seed);
    EXPECT_EQ(run_mirror(Fault::kNone), std::vector<int>(64, 263)) << seed;
  }
}

TEST(EmulatorDeathTest, CatchesAMissingBarrier) {
  EXPECT_DEATH(run_mirror(Fault::kNoBarrier),
               "mirror_kernel, block .0, 0, 0., thread .*shared memory is");
}

TEST(EmulatorDeathTest, CatchesARace) {
  EXPECT_DEATH(run_mirror(Fault::kSameElement), "written by two threads at once");
}

TEST(EmulatorDeathTest, CatchesAReadOutOfBounds) {
  EXPECT_DEATH(run_mirror(Fault::kOutOfBounds), "shared memory has no element 64 of 64");
}

TEST(EmulatorDeathTest, CatchesAReadOfPoison) {
  EXPECT_DEATH(run_mirror(Fault::kNotWritten), "read before anything is written");
}

TEST(EmulatorDeathTest, CatchesBarriersThatNotAllThreadsReach) {
  EXPECT_DEATH(run_mirror(Fault::kBarrierInABranch), "threads wait at different barriers");
  EXPECT_DEATH(run_mirror(Fault::kEarlyReturn), "a thread has returned before a barrier");
}

TEST(EmulatorDeathTest, CatchesALaunchBeyondAGpusLimits) {
  EXPECT_DEATH(last_block_sum(0, nullptr, nullptr, nullptr), "a launch of no blocks");
}

TEST(EmulatorDeathTest, CatchesAReadBehindDeviceMemory) {
  const test::GuardedMemory<int> in(60);
  std::vector<int> out(64);
  EXPECT_DEATH(mirror(Fault::kNone, in.data(), out.data()), "");
}

TEST(Emulator, ExchangesValuesWithinAWarp) {
  std::vector<int> in(32), out(33);
  std::iota(in.begin(), in.end(), 1);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    set_seed(seed);
    warp_sum(false, in.data(), out.data());
    EXPECT_EQ(out, std::vector<int>(33, 528)) << seed;
    warp_mirror(true, in.data(), out.data());
    EXPECT_EQ(out[3], in[28]);
  }
}

TEST(EmulatorDeathTest, CatchesLanesThatDoNotCome) {
  std::vector<int> in(32, 1), out(33);
  EXPECT_DEATH(warp_sum(true, in.data(), out.data()), "a warp waits for a lane that has returned");
  EXPECT_DEATH(warp_mirror(false, in.data(), out.data()), "shared memory is");
}

TEST(Emulator, LetsTheLastBlockFinish) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    set_seed(seed);
    std::vector<int> partial(7), out(1);
    unsigned counter = 0;
    last_block_sum(7, partial.data(), &counter, out.data());
    EXPECT_EQ(out[0], 7 * 32);
    EXPECT_EQ(counter, 0u);  // ready for the next launch
  }
}

TEST(Emulator, OrderDependsOnTheSeedAlone) {
  const auto last_writer = [](uint64_t seed) {
    set_seed(seed);
    int out = -1;
    race_in_global_memory(&out);
    return out;
  };
  std::set<int> seen;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    EXPECT_EQ(last_writer(seed), last_writer(seed));
    seen.insert(last_writer(seed));
  }
  EXPECT_GT(seen.size(), 3u);
}

TEST(Emulator, CountsLaunches) {
  const int64_t before = num_launches();
  run_mirror(Fault::kNone);
  EXPECT_EQ(num_launches(), before + 1);
}

}  // namespace
}  // namespace lockstep::emulator
