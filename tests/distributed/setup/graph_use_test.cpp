#include "lockstep/distributed/setup/graph_use.h"

#include <gtest/gtest.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"

namespace lockstep {
namespace {

const at::Device kGpu(at::kCUDA, 0);

Config config_of(const std::vector<std::string>& assignments) {
  return parse_config("", assignments, "--set");
}

TEST(GraphUse, AutoRecordsWhatIsKnownToAllowIt) {
  EXPECT_TRUE(records_steps(config_of({}), kGpu, "nccl", false));
  EXPECT_TRUE(records_steps(config_of({"data.augmentation.mixup=0.2"}), kGpu, "nccl", false));
  EXPECT_FALSE(records_steps(config_of({}), at::kCPU, "mpi", false));
  EXPECT_FALSE(records_steps(config_of({}), kGpu, "mpi", false));
  EXPECT_FALSE(records_steps(config_of({}), kGpu, "nccl", true));
}

TEST(GraphUse, OffRecordsNothing) {
  EXPECT_FALSE(records_steps(config_of({"distributed.graphs=off"}), kGpu, "nccl", false));
}

TEST(GraphUse, OnTrustsAProgramsOwnModelAndRefusesTheRestByName) {
  const Config config = config_of({"distributed.graphs=on"});
  EXPECT_TRUE(records_steps(config, kGpu, "nccl", true));
  EXPECT_FALSE(records_steps(config, at::kCPU, "mpi", false));  // told by a note
  try {
    records_steps(config, kGpu, "mpi", false);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("distributed.backend"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace lockstep
