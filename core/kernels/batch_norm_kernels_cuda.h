// CUDA kernels of fused batch normalisation: plain device memory, no LibTorch. `stream` is a
// cudaStream_t.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/batch_norm_kernels.h"

namespace lockstep::kernels::cuda {

// float32 values per channel of scratch memory that the two sums need (partial sums of the blocks
// of their first stage).
int64_t scratch_floats(const Activation& shape);

// moments: [2C + 1] double: Σx, Σx², values per channel.
void moments(const Activation& shape, const void* x, float* scratch, double* moments, void* stream);

struct Coefficients {
  float *mean, *inverse_deviation, *unbiased_variance, *scale, *offset;  // [C] each
  float* has_variance;                                                   // [1]
};
void coefficients(int64_t channels,
                  const double* moments,
                  const float* weight,
                  const float* bias,
                  double epsilon,
                  Coefficients out,
                  void* stream);

void apply(const Activation& shape,
           const void* x,
           const void* residual,
           bool relu,
           Affine affine,
           void* y,
           void* stream);

// sums: [2C] double: Σg, Σg (x - mean); g as in BatchNormKernels::backward_sums.
void gradient_sums(const Activation& shape,
                   const void* x,
                   const void* dy,
                   const void* y,
                   bool relu,
                   Affine affine,
                   const float* mean,
                   void* masked,
                   float* scratch,
                   double* sums,
                   void* stream);

// slopes: [3C] scratch. dx as in BatchNormPasses::input_gradient.
void input_gradient(const Activation& shape,
                    const void* x,
                    const void* dy,
                    bool relu,
                    Affine affine,
                    const double* sums,
                    const double* count,
                    const float* weight,
                    const float* mean,
                    const float* inverse_deviation,
                    float* slopes,
                    void* dx,
                    void* stream);

}  // namespace lockstep::kernels::cuda
