#include "core/batch_norm_kernels.h"

#include <atomic>

namespace lockstep::kernels {
namespace {

std::atomic<const BatchNormKernels*> forced{nullptr};

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

const BatchNormKernels& batch_norm_kernels(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return batch_norm_kernels_avx512();
    case InstructionSet::kAvx2:
      return batch_norm_kernels_avx2();
    case InstructionSet::kPortable:
      break;
  }
  return batch_norm_kernels_portable();
}

const BatchNormKernels& batch_norm_kernels() {
  static const BatchNormKernels& best = batch_norm_kernels(best_instruction_set());
  const BatchNormKernels* chosen = forced.load(std::memory_order_relaxed);
  return chosen ? *chosen : best;
}

void force_instruction_set(InstructionSet set) { forced.store(&batch_norm_kernels(set)); }

}  // namespace lockstep::kernels
