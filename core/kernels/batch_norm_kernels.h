// CPU kernels of fused batch normalisation: plain memory, no LibTorch. Compiled once for each
// instruction set.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/batch_norm_operands.h"
#include "lockstep/core/kernels/instruction_set.h"

namespace lockstep::kernels {

struct RowRange {
  int64_t begin = 0, end = 0;
};

// Two sums per channel, [C] each, that a kernel adds to.
struct ChannelSums {
  double *first, *second;
};

struct BatchNormKernels {
  // Σ (x - shift[c]) and Σ (x - shift[c])²
  void (*forward_sums)(const Activation&, const void* x, const float* shift, RowRange, ChannelSums);
  void (*forward_apply)(const Activation&, const ForwardMap&, RowRange);
  void (*backward_sums)(const Activation&, const GradientTerms&, RowRange, ChannelSums);
  void (*backward_apply)(const Activation&, const BackwardMap&, RowRange);
};

const BatchNormKernels& batch_norm_kernels_portable();
const BatchNormKernels& batch_norm_kernels_avx2();
const BatchNormKernels& batch_norm_kernels_avx512();

inline const BatchNormKernels& batch_norm_kernels() {
  return chosen_kernels(
      batch_norm_kernels_portable(), batch_norm_kernels_avx2(), batch_norm_kernels_avx512());
}

}  // namespace lockstep::kernels
