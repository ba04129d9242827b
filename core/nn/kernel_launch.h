// Launches of kernels on LibTorch's streams. Only in builds with CUDA.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace lockstep {

// Calls launch(stream), with the device's current stream as the void* that kernels take, and throws
// what the launch answers.
template <typename Launch>
void launch_kernel(at::Device device, const Launch& launch) {
  const c10::cuda::CUDAGuard guard(device);
  launch(static_cast<void*>(c10::cuda::getCurrentCUDAStream(device.index()).stream()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace lockstep
