#include "tests/gpu/emulator/planted_faults.h"

#include <cuda_runtime.h>

namespace lockstep::emulator {
namespace {

constexpr int kThreads = 64;
constexpr unsigned kAllLanes = 0xFFFFFFFF;

__global__ void mirror_kernel(Fault fault, const int* in, int* out) {
  __shared__ int shared[kThreads];
  const int i = static_cast<int>(threadIdx.x);
  if (fault == Fault::kEarlyReturn && i == 5) return;
  if (fault != Fault::kNotWritten || i != 7)
    shared[fault == Fault::kSameElement ? i / 2 : i] = in[i];
  if (fault == Fault::kBarrierInABranch) {
    if (i < kThreads / 2) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  } else if (fault != Fault::kNoBarrier) {
    __syncthreads();
  }
  out[i] = shared[i] + shared[(fault == Fault::kOutOfBounds ? kThreads : kThreads - 1) - i];
}

__global__ void warp_sum_kernel(bool lane_is_missing, const int* in, int* out) {
  const int i = static_cast<int>(threadIdx.x);
  if (lane_is_missing && i == 3) return;
  int sum = in[i];
  for (int delta = 16; delta > 0; delta /= 2) sum += __shfl_down_sync(kAllLanes, sum, delta);
  if (i == 0) out[0] = sum;
  int total = in[i];
  for (int bits = 16; bits > 0; bits /= 2) total += __shfl_xor_sync(kAllLanes, total, bits);
  out[1 + i] = total;
}

__global__ void warp_mirror_kernel(bool has_barrier, const int* in, int* out) {
  __shared__ int shared[32];
  const int i = static_cast<int>(threadIdx.x);
  shared[i] = in[i];
  if (has_barrier) __syncwarp();
  out[i] = shared[31 - i];
}

__global__ void last_block_sum_kernel(int* partial, unsigned* counter, int* out) {
  __shared__ int sum[32];
  __shared__ bool last;
  const int i = static_cast<int>(threadIdx.x);
  sum[i] = 1;
  __syncthreads();
  if (i == 0) {
    int total = 0;
    for (int k = 0; k < 32; ++k) total += sum[k];
    partial[blockIdx.x] = total;
    __threadfence();
    last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || i != 0) return;
  int total = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) total += __ldcg(partial + b);
  out[0] = total;
}

__global__ void race_kernel(int* out) { out[0] = static_cast<int>(threadIdx.x); }

}  // namespace

void mirror(Fault fault, const int* in, int* out) {
  mirror_kernel<<<1, kThreads>>>(fault, in, out);
}

void warp_sum(bool lane_is_missing, const int* in, int* out) {
  warp_sum_kernel<<<1, 32>>>(lane_is_missing, in, out);
}

void warp_mirror(bool has_barrier, const int* in, int* out) {
  warp_mirror_kernel<<<1, 32>>>(has_barrier, in, out);
}

void last_block_sum(int blocks, int* partial, unsigned* counter, int* out) {
  last_block_sum_kernel<<<blocks, 32>>>(partial, counter, out);
}

void race_in_global_memory(int* out) { race_kernel<<<1, kThreads>>>(out); }

}  // namespace lockstep::emulator
