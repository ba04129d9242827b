// CUDA kernels of fused batch normalisation: plain device memory, no LibTorch. `stream` is a
// cudaStream_t.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_operands.h"

namespace lockstep::kernels::cuda {

// float32 values of scratch memory that the two sums need (partial sums of the blocks of their
// first stage).
int64_t scratch_floats(const Activation& shape);

// moments: [2C + 1] double: Σ x, Σ x², values per channel.
void moments(const Activation& shape, const void* x, float* scratch, double* moments, void* stream);

// sums: [2C] double: Σ g, Σ g (x - mean).
void gradient_sums(const Activation& shape,
                   const GradientTerms& terms,
                   float* scratch,
                   double* sums,
                   void* stream);

// The formulas for all channels.
void coefficients(const CoefficientsOfMoments& formula, void* stream);
void slopes(const SlopesOfSums& formula, void* stream);

void apply(const Activation& shape, const ForwardMap& map, void* stream);
void input_gradient(const Activation& shape, const BackwardMap& map, void* stream);

}  // namespace lockstep::kernels::cuda
