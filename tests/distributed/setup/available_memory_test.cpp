#include "lockstep/distributed/setup/available_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lockstep/core/base/error.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

// A root folder with what Linux would show in it.
class AvailableMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    put("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    1048576 kB\n");
  }

  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  int64_t available() const { return available_host_bytes(root_ / "") / kMebibyte; }

  test::TemporaryFolder root_;
};

TEST_F(AvailableMemory, IsTheHostsWithoutControlGroups) { EXPECT_EQ(available(), 1024); }

TEST_F(AvailableMemory, IsWhatTheTightestGroupLeaves) {
  put("proc/self/cgroup", "0::/slurm/job_1/step_0\n");
  put("sys/fs/cgroup/slurm/job_1/step_0/memory.max", "max\n");
  put("sys/fs/cgroup/slurm/job_1/step_0/memory.current", "1048576\n");
  EXPECT_EQ(available(), 1024);
  put("sys/fs/cgroup/slurm/job_1/memory.max", std::to_string(300 * kMebibyte));
  put("sys/fs/cgroup/slurm/job_1/memory.current", std::to_string(100 * kMebibyte));
  EXPECT_EQ(available(), 200);
  // Pages of files can be dropped.
  put("sys/fs/cgroup/slurm/job_1/memory.stat", "anon 1\ninactive_file 52428800\nactive_file 7\n");
  EXPECT_EQ(available(), 250);
  // Above memory.high a process is slowed down: it counts as a limit too.
  put("sys/fs/cgroup/slurm/job_1/memory.high", std::to_string(150 * kMebibyte));
  EXPECT_EQ(available(), 100);
  put("sys/fs/cgroup/slurm/job_1/memory.high", "max\n");
  EXPECT_EQ(available(), 250);
  // A group that is over its limit leaves nothing.
  put("sys/fs/cgroup/slurm/memory.max", std::to_string(10 * kMebibyte));
  put("sys/fs/cgroup/slurm/memory.current", std::to_string(20 * kMebibyte));
  EXPECT_EQ(available(), 0);
}

TEST_F(AvailableMemory, KnowsAContainersOwnGroupAtTheTop) {
  put("proc/self/cgroup", "0::/somewhere/on/the/host\n");
  put("sys/fs/cgroup/memory.max", std::to_string(64 * kMebibyte));
  put("sys/fs/cgroup/memory.current", std::to_string(4 * kMebibyte));
  EXPECT_EQ(available(), 60);
}

TEST_F(AvailableMemory, KnowsVersionOneOfControlGroups) {
  put("proc/self/cgroup", "12:cpu,cpuacct:/other\n5:memory:/job\n1:name=systemd:/init\n");
  put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", std::to_string(90 * kMebibyte));
  put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", std::to_string(50 * kMebibyte));
  put("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 10485760\n");
  EXPECT_EQ(available(), 50);
  put("sys/fs/cgroup/memory/other/memory.limit_in_bytes", "0");
  put("sys/fs/cgroup/memory/other/memory.usage_in_bytes", "0");
  EXPECT_EQ(available(), 50);
}

TEST_F(AvailableMemory, IsRefusedWhereLinuxDoesNotTell) {
  put("proc/meminfo", "nothing\n");
  EXPECT_THROW(available(), Error);
}

TEST(AvailableMemoryHere, IsPositive) { EXPECT_GT(available_bytes(at::kCPU), 0); }

}  // namespace
}  // namespace lockstep
