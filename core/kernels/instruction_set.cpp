#include "lockstep/core/kernels/instruction_set.h"

#include <atomic>

namespace lockstep::kernels {
namespace {

std::atomic<InstructionSet>& chosen() {
  static std::atomic<InstructionSet> set{best_instruction_set()};
  return set;
}

}  // namespace

bool supported(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bf16");
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case InstructionSet::kPortable:
      return true;
  }
  return false;
}

InstructionSet best_instruction_set() {
  if (supported(InstructionSet::kAvx512)) return InstructionSet::kAvx512;
  return supported(InstructionSet::kAvx2) ? InstructionSet::kAvx2 : InstructionSet::kPortable;
}

InstructionSet instruction_set() { return chosen().load(std::memory_order_relaxed); }

void force_instruction_set(InstructionSet set) { chosen().store(set); }

const char* to_string(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return "AVX-512 BF16";
    case InstructionSet::kAvx2:
      return "AVX2";
    case InstructionSet::kPortable:
      return "baseline";
  }
  return "unknown";
}

}  // namespace lockstep::kernels
