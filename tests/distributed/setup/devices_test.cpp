#include "lockstep/distributed/setup/devices.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/kernels/instruction_set.h"

namespace lockstep {
namespace {

using kernels::InstructionSet;
using testing::HasSubstr;

// Two hosts of two ranks each.
Topology two_hosts() {
  Topology topology;
  topology.world_size = 4;
  topology.num_hosts = 2;
  topology.host_names = {"alpha", "beta"};
  topology.host_of_rank = {0, 0, 1, 1};
  return topology;
}

Config with_device(const std::string& device) {
  const std::string assignment = "device=" + device;
  return parse_config("", std::span(&assignment, 1), "--set");
}

bool decision(const std::string& device, const VisibleGpus& gpus) {
  return job_uses_gpus(with_device(device), two_hosts(), gpus);
}

// The message with which the job is refused.
std::string refusal(const std::string& device, const VisibleGpus& gpus) {
  try {
    decision(device, gpus);
    ADD_FAILURE() << "no error";
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
}

const VisibleGpus kEverywhere{{2, 2, 2, 2}, {"", "", "", ""}, {true, true, true, true}};
const VisibleGpus kNowhere{{0, 0, 0, 0},
                           {"no driver", "no driver", "no driver", "no driver"},
                           {false, false, false, false}};
const VisibleGpus kNotOnBeta{
    {2, 2, 0, 0}, {"", "", "no driver", "no driver"}, {true, true, false, false}};

TEST(JobUsesGpus, WhereEveryRankHasOneUnlessCpusAreAskedFor) {
  EXPECT_TRUE(decision("auto", kEverywhere));
  EXPECT_TRUE(decision("cuda", kEverywhere));
  EXPECT_FALSE(decision("cpu", kEverywhere));
}

TEST(JobUsesGpus, AutoTakesCpusWhereNoRankHasOne) {
  EXPECT_FALSE(decision("auto", kNowhere));
  EXPECT_FALSE(decision("cpu", kNotOnBeta));
}

TEST(JobUsesGpus, AutoRefusesHostsOfTwoKindsAndNamesTheOneWithout) {
  const std::string message = refusal("auto", kNotOnBeta);
  EXPECT_THAT(message, HasSubstr("device=auto, but rank 2 on host beta has no GPU: no driver"));
  EXPECT_THAT(message, HasSubstr("2 of 4 ranks have none"));
  EXPECT_THAT(message, HasSubstr("Set device=cpu"));
}

TEST(JobUsesGpus, CudaNeedsOneOnEveryRank) {
  EXPECT_THAT(refusal("cuda", kNotOnBeta), HasSubstr("device=cuda, but rank 2 on host beta"));
  EXPECT_THAT(refusal("cuda", kNowhere), HasSubstr("rank 0 on host alpha has no GPU"));
}

TEST(UnusedGpuNote, TellsOfAGpuThatAutoCouldNotUse) {
  VisibleGpus gpus = kNowhere;
  const auto note = [&](const char* device) {
    return unused_gpu_note(with_device(device), two_hosts(), gpus);
  };
  EXPECT_EQ(note("auto"), "");
  gpus.installed = {false, false, true, true};
  gpus.reasons[2] = "an old driver";
  EXPECT_THAT(note("auto"), HasSubstr("the host of rank 2 on host beta has a GPU: an old driver"));
  EXPECT_EQ(note("cpu"), "");
}

TEST(DescribeCpu, NamesTheInstructionSetThatTheKernelsUse) {
  at::set_num_threads(1);
  kernels::force_instruction_set(InstructionSet::kAvx2);
  EXPECT_EQ(describe_cpu(), "CPU, 1 thread, AVX2");
  kernels::force_instruction_set(InstructionSet::kAvx512);
  EXPECT_EQ(describe_cpu(), "CPU, 1 thread, AVX-512 BF16");
  kernels::force_instruction_set(InstructionSet::kPortable);
  EXPECT_EQ(describe_cpu(), "CPU, 1 thread, baseline");
  kernels::force_instruction_set(kernels::best_instruction_set());
}

}  // namespace
}  // namespace lockstep
