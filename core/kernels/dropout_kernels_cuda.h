// The CUDA kernel of random masks: plain device memory, no LibTorch. `stream` is a cudaStream_t.
#pragma once

#include "lockstep/core/random/dropout_draws.h"

namespace lockstep::kernels::cuda {

// mask: [draws.samples, draws.elements] bfloat16, else float32; 0 or 1, bit for bit as the host
// makes it. Nothing is launched for an empty one. `draws` is an argument of the launch, which a
// recorded graph repeats; `step`, unless null, is read on the device instead of draws.step.
void random_mask(const MaskDraws& draws, const int* step, bool bf16, void* mask, void* stream);

}  // namespace lockstep::kernels::cuda
