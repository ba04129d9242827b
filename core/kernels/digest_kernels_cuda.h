// The CUDA kernel of digests: plain device memory, no LibTorch. `stream` is a cudaStream_t.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {

// Adds the terms of `words` (digest_formula.h) to *digest, modulo 2^64. Nothing is launched for
// none.
void add_digest(const uint32_t* words, int64_t count, uint64_t* digest, void* stream);

}  // namespace lockstep::kernels::cuda
