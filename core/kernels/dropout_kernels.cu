#include <cuda_runtime.h>

#include "lockstep/core/kernels/dropout_kernels_cuda.h"
#include "lockstep/core/kernels/launch_size.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr uint16_t kBf16One = 0x3F80;

template <typename T>
__global__ void random_mask_kernel(MaskDraws given, const int* step, T one, T* mask) {
  MaskDraws draws = given;
  if (step) draws.step = static_cast<uint32_t>(*step);
  const int64_t thread = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  draws.write_share(thread, gridDim.x * static_cast<int64_t>(kThreads), one, mask);
}

template <typename T>
void launch(const MaskDraws& draws, const int* step, T one, void* mask, void* stream) {
  const unsigned blocks = blocks_for(draws.num_draws(), kThreads);
  random_mask_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      draws, step, one, static_cast<T*>(mask));
}

}  // namespace

void random_mask(const MaskDraws& draws, const int* step, bool bf16, void* mask, void* stream) {
  if (draws.num_draws() == 0) return;
  if (bf16) {
    launch(draws, step, kBf16One, mask, stream);
  } else {
    launch(draws, step, 1.0f, mask, stream);
  }
}

}  // namespace lockstep::kernels::cuda
