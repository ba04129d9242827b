#include "lockstep/distributed/setup/gpu_topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A root folder with what Linux would show of a host of two sockets.
class GpuTopology : public testing::Test {
 protected:
  void SetUp() override {
    put("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
    put("sys/devices/system/node/node1/cpulist", "4-7,12\n");
    put("sys/devices/system/node/online", "0-1\n");
    put("sys/class/infiniband/mlx5_1/node_type", "1: CA\n");
    put("sys/class/infiniband/mlx5_0/node_type", "1: CA\n");
  }
  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::vector<int> nodes(const std::vector<int>& cores) const {
    return numa_nodes_of(cores, root_ / "");
  }

  test::TemporaryFolder root_;
};

TEST_F(GpuTopology, CoresBelongToTheNodesThatListThem) {
  EXPECT_THAT(nodes({0}), ElementsAre(0));
  EXPECT_THAT(nodes({11, 9}), ElementsAre(0));
  EXPECT_THAT(nodes({12}), ElementsAre(1));
  EXPECT_THAT(nodes({3, 4}), ElementsAre(0, 1));
  EXPECT_THAT(nodes({13}), IsEmpty());
  EXPECT_THAT(nodes({}), IsEmpty());
}

TEST_F(GpuTopology, AHostThatSaysNothingHasNoNodes) {
  const test::TemporaryFolder nothing;
  EXPECT_THAT(numa_nodes_of(std::vector<int>{0}, nothing / ""), IsEmpty());
  EXPECT_THAT(fast_network_adapters(nothing / ""), IsEmpty());
}

TEST_F(GpuTopology, AdaptersAreNamedInOrder) {
  EXPECT_THAT(fast_network_adapters(root_ / ""), ElementsAre("mlx5_0", "mlx5_1"));
}

}  // namespace
}  // namespace lockstep
