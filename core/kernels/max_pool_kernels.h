// CPU kernels of max pooling in channels-last memory: no LibTorch. Compiled once for each
// instruction set.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/instruction_set.h"
#include "lockstep/core/kernels/max_pool_shape.h"

namespace lockstep::kernels {

struct MaxPoolKernels {
  // Rows [begin, end) of the n * out_height rows of y, and which tap each value came from: the
  // first of equals, the last NaN, as ATen's.
  void (*forward)(
      const MaxPoolShape&, const void* x, void* y, uint8_t* taps, int64_t begin, int64_t end);
  // Rows [begin, end) of the n * in_height rows of dx, summed in float32, on top of `base` unless
  // that is null.
  void (*backward)(const MaxPoolShape&,
                   const void* dy,
                   const uint8_t* taps,
                   const void* base,
                   void* dx,
                   int64_t begin,
                   int64_t end);
};

const MaxPoolKernels& max_pool_kernels_portable();
const MaxPoolKernels& max_pool_kernels_avx2();
const MaxPoolKernels& max_pool_kernels_avx512();

inline const MaxPoolKernels& max_pool_kernels() {
  return chosen_kernels(
      max_pool_kernels_portable(), max_pool_kernels_avx2(), max_pool_kernels_avx512());
}

}  // namespace lockstep::kernels
