// What CUDA sources are compiled with instead of nvcc, once translate.py has replaced what is not
// C++. Include it first.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

// nvcc includes these for every source.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/emulator/shared_memory.h"

namespace lockstep::emulator {

inline Launch configured(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t stream = nullptr) {
  return {grid, block, shared, stream};
}

// `kernel<<<launch>>>(arguments)`; `body` calls the kernel with copies of them.
template <typename Body, typename... Arguments>
void launch(const char* kernel, const Launch& launch, Body body, Arguments... arguments) {
  static_assert((std::is_trivially_copyable_v<Arguments> && ...), "kernels take plain memory");
  (device().prepare_argument(&arguments, sizeof arguments), ...);
  device().enqueue(
      kernel, launch.stream, [=] { run_grid(kernel, launch, [&] { body(arguments...); }); });
}

template <typename T>
T exchange(int line, uint32_t mask, T value, int source_lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange_in_warp(line, mask, bits, source_lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void wait_for_warp(int line, uint32_t mask = 0xFFFFFFFF);
// The lane `delta` behind the running one; its own where the warp has none.
int lane_behind(unsigned delta);

}  // namespace lockstep::emulator

// NOLINTBEGIN(bugprone-reserved-identifier): CUDA's own names
#undef __launch_bounds__
#define __launch_bounds__(...)

#define threadIdx (::lockstep::emulator::thread_index())
#define blockIdx (::lockstep::emulator::block_index())
#define blockDim (::lockstep::emulator::block_size())
#define gridDim (::lockstep::emulator::grid_size())

#define __syncthreads() ::lockstep::emulator::wait_for_block(__LINE__)
#define __syncwarp(...) ::lockstep::emulator::wait_for_warp(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_xor_sync(mask, value, bits) \
  ::lockstep::emulator::exchange(__LINE__, mask, value, ::lockstep::emulator::lane() ^ (bits))
#define __shfl_down_sync(mask, value, delta) \
  ::lockstep::emulator::exchange(__LINE__, mask, value, ::lockstep::emulator::lane_behind(delta))

// Blocks run one after another and nothing is cached: other blocks see what one has written.
inline void __threadfence() {}
inline void __threadfence_system() {}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
void __stwb(T* address, T value) {
  *address = value;
}
// Rounded each, as this file's compiler does it: it knows no fused operations of this processor.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

// NOLINTEND(bugprone-reserved-identifier)

template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address = before + value;
  return before;
}
// Back to 0 beyond `last`.
inline unsigned atomicInc(unsigned* address, unsigned last) {
  const unsigned before = *address;
  *address = before >= last ? 0 : before + 1;
  return before;
}
