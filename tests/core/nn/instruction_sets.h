// Tests that run once with the kernels of each instruction set this processor has.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>

#include "lockstep/core/kernels/instruction_set.h"

namespace lockstep {

// One thread, unless a test asks for more.
class EachInstructionSet : public testing::TestWithParam<kernels::InstructionSet> {
 protected:
  void SetUp() override {
    if (!kernels::supported(GetParam())) GTEST_SKIP() << "this processor lacks the instruction set";
    before_ = kernels::instruction_set();
    kernels::force_instruction_set(GetParam());
    torch::manual_seed(1);
  }
  void TearDown() override {
    if (!IsSkipped()) kernels::force_instruction_set(before_);
    at::set_num_threads(1);
  }

 private:
  kernels::InstructionSet before_{};
};

// For INSTANTIATE_TEST_SUITE_P.
inline auto instruction_sets() {
  using enum kernels::InstructionSet;
  return testing::Values(kPortable, kAvx2, kAvx512);
}

inline std::string instruction_set_name(
    const testing::TestParamInfo<kernels::InstructionSet>& info) {
  using enum kernels::InstructionSet;
  return info.param == kPortable ? "Portable" : info.param == kAvx2 ? "Avx2" : "Avx512";
}

}  // namespace lockstep
