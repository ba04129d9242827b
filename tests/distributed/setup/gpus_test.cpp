#include "lockstep/distributed/setup/gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

// The CUDA runtime gives one error for both.
TEST(DriverComplaint, TellsAMissingDriverFromAnOldOne) {
  EXPECT_EQ(driver_complaint(0, 13000), "no NVIDIA driver found");
  const std::string old = driver_complaint(12040, 13000);
  EXPECT_THAT(old, HasSubstr("it knows CUDA 12.4 at most, this build needs 13.0"));
  EXPECT_THAT(old, HasSubstr("driver 580 or newer"));
}

TEST(GpuFiles, AreThoseOfDevicesAlone) {
  const test::TemporaryFolder folder;
  const auto add = [&](const char* name) { std::ofstream(folder / name) << ""; };
  EXPECT_FALSE(has_gpu_files(folder.path()));
  for (const char* name : {"nvidia", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"})
    add(name);
  EXPECT_FALSE(has_gpu_files(folder.path()));
  add("nvidia3");  // a container may be given another than the first
  EXPECT_TRUE(has_gpu_files(folder.path()));
  EXPECT_FALSE(has_gpu_files(folder / "missing"));
}

}  // namespace
}  // namespace lockstep
