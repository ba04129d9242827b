// CPU kernels of fused batch normalisation: plain memory, no LibTorch. Compiled once for each
// instruction set.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/instruction_set.h"

namespace lockstep::kernels {

// An activation of n images, `spatial` = height * width values per channel and image.
struct Activation {
  int64_t n = 0, channels = 0, spatial = 0;
  bool channels_last = false;
  bool bf16 = false;  // else float32
  // Channels-last: values from one row to the next, of x and dx, and of everything else. More than
  // the channels where a tensor is a slice of a wider one's channels.
  int64_t x_stride = 0, y_stride = 0;

  // Work is cut along rows: values of all channels at one place (channels-last), or whole images
  // (else).
  int64_t num_rows() const { return channels_last ? n * spatial : n; }
};

struct RowRange {
  int64_t begin = 0, end = 0;
};

// Per channel: y = x * scale + offset is the normalised value, as forward computed it.
struct Affine {
  const float* scale;
  const float* offset;
};

struct BatchNormKernels {
  // sum[c] += Σ (x - shift[c]), sum_of_squares[c] += Σ (x - shift[c])²
  void (*forward_sums)(const Activation&,
                       const void* x,
                       const float* shift,
                       RowRange,
                       double* sum,
                       double* sum_of_squares);
  // y = x * scale + offset (+ residual) (then relu)
  void (*forward_apply)(
      const Activation&, const void* x, const void* residual, bool relu, Affine, void* y, RowRange);
  // g = dy where y > 0 (all of dy without relu; y recomputed from x when `y` is null); sum[c] += Σ
  // g, product_sum[c] += Σ g (x - mean[c]); g is written to `masked` unless null.
  void (*backward_sums)(const Activation&,
                        const void* x,
                        const void* dy,
                        const void* y,
                        bool relu,
                        Affine,
                        const float* mean,
                        void* masked,
                        RowRange,
                        double* sum,
                        double* product_sum);
  // dx = g * a[c] + x * b[c] + k[c], g as above from `dy`
  void (*backward_apply)(const Activation&,
                         const void* x,
                         const void* dy,
                         bool relu,
                         Affine,
                         const float* a,
                         const float* b,
                         const float* k,
                         void* dx,
                         RowRange);
};

const BatchNormKernels& batch_norm_kernels_portable();
const BatchNormKernels& batch_norm_kernels_avx2();
const BatchNormKernels& batch_norm_kernels_avx512();

inline const BatchNormKernels& batch_norm_kernels() {
  return chosen_kernels(
      batch_norm_kernels_portable(), batch_norm_kernels_avx2(), batch_norm_kernels_avx512());
}

}  // namespace lockstep::kernels
