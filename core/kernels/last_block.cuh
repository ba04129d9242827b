// How the blocks of a launch find out which of them is the last. Internal linkage.
#pragma once

#include <cuda_runtime.h>

namespace lockstep::kernels::cuda {
namespace {

// Whether the calling block is the last of `count` to come here, which then sees what all of them
// have written before. For all threads at once. `last`: an int in the block's shared memory.
template <typename SharedInt>
__device__ bool is_last(unsigned* ticket, unsigned count, SharedInt& last) {
  __syncthreads();
  if (count == 1) return true;
  if (threadIdx.x == 0) {
    // One thread's fence passes on what the others wrote before the barrier (a fence is cumulative:
    // the PTX manual, "memory consistency model"); all of them would wait as long, 256 times.
    __threadfence();
    last = atomicInc(ticket, count - 1) == count - 1;
    __threadfence();
  }
  __syncthreads();
  return last != 0;
}

}  // namespace
}  // namespace lockstep::kernels::cuda
