// Which of this processor's instruction sets the CPU kernels use.
#pragma once

namespace lockstep::kernels {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

bool supported(InstructionSet set);
InstructionSet best_instruction_set();
// The best set this processor has, unless a test forces another.
InstructionSet instruction_set();
void force_instruction_set(InstructionSet set);

// For people: "AVX2", "AVX-512 BF16" (the kernels need all of it), "baseline" (of x86-64).
const char* to_string(InstructionSet set);

// Of three tables of kernels, the one for instruction_set().
template <typename Kernels>
const Kernels& chosen_kernels(const Kernels& portable, const Kernels& avx2, const Kernels& avx512) {
  const InstructionSet set = instruction_set();
  if (set == InstructionSet::kAvx512) return avx512;
  return set == InstructionSet::kAvx2 ? avx2 : portable;
}

}  // namespace lockstep::kernels
