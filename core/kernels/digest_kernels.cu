#include <cuda_runtime.h>

#include "lockstep/core/kernels/digest_formula.h"
#include "lockstep/core/kernels/digest_kernels_cuda.h"
#include "lockstep/core/kernels/launch_size.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kWordsOfAThread = 16;  // at least, where there are so many

__global__ void digest_kernel(const uint32_t* words, int64_t count, unsigned long long* digest) {
  unsigned long long sum = 0;
  const int64_t threads = gridDim.x * static_cast<int64_t>(kThreads);
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < count;
       i += threads)
    sum += digest_term(words[i], static_cast<uint64_t>(i));
  atomicAdd(digest, sum);
}

}  // namespace

void add_digest(const uint32_t* words, int64_t count, uint64_t* digest, void* stream) {
  if (count == 0) return;
  const unsigned blocks = blocks_for(count, kThreads * kWordsOfAThread, /*most=*/256);
  digest_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      words, count, reinterpret_cast<unsigned long long*>(digest));
}

}  // namespace lockstep::kernels::cuda
