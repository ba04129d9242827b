// CUDA kernels of max pooling in channels-last memory: plain device memory, no LibTorch. `stream`
// is a cudaStream_t. Each function is one launch.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/max_pool_shape.h"

namespace lockstep::kernels::cuda {

// y of n images, and which tap each value came from: as the CPU's (max_pool_kernels.h).
void max_pool(
    const MaxPoolShape& shape, int64_t n, const void* x, void* y, uint8_t* taps, void* stream);

// dx, summed in float32, on top of `base` unless that is null.
void max_pool_gradient(const MaxPoolShape& shape,
                       int64_t n,
                       const void* dy,
                       const uint8_t* taps,
                       const void* base,
                       void* dx,
                       void* stream);

}  // namespace lockstep::kernels::cuda
