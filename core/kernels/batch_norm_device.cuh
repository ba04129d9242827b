// What the CUDA kernels of fused batch normalisation share. Internal linkage: for batch_norm_*.cu
// alone.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "lockstep/core/kernels/batch_norm_operands.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float to_float(float v) { return v; }
__device__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ void from_float(float v, float* out) { *out = v; }
__device__ void from_float(float v, __nv_bfloat16* out) { *out = __float2bfloat16_rn(v); }

// kVector neighbouring values, moved in one access of up to 16 bytes.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T value[kVector];
};

template <typename T, int kVector>
__device__ void load(const void* from, int64_t at, float (&out)[kVector]) {
  const auto pack = *reinterpret_cast<const Pack<T, kVector>*>(static_cast<const T*>(from) + at);
#pragma unroll
  for (int i = 0; i < kVector; ++i) out[i] = to_float(pack.value[i]);
}

template <typename T, int kVector>
__device__ void store(void* to, int64_t at, const float (&in)[kVector]) {
  Pack<T, kVector> pack;
#pragma unroll
  for (int i = 0; i < kVector; ++i) from_float(in[i], &pack.value[i]);
  *reinterpret_cast<Pack<T, kVector>*>(static_cast<T*>(to) + at) = pack;
}

// x and g, as GradientInput has it.
template <typename T, int kVector>
__device__ void load_gradient(const GradientInput& in,
                              int64_t at,
                              const int64_t (&channel)[kVector],
                              float (&x)[kVector],
                              float (&g)[kVector]) {
  load<T, kVector>(in.x, at, x);
  load<T, kVector>(in.dy, at, g);
  if (!in.relu) return;
  float y[kVector];
  if (in.y) load<T, kVector>(in.y, at, y);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float out =
        in.y ? y[i] : fmaf(x[i], in.affine.scale[channel[i]], in.affine.offset[channel[i]]);
    if (out <= 0.0f) g[i] = 0.0f;
  }
}

// Calls `call(T, vector width)` with packs of 16 bytes where those neither straddle channels nor
// stand unaligned in `memory`, else with single values.
template <typename Call>
void with_type(const Activation& shape, std::initializer_list<const void*> memory, Call&& call) {
  const int64_t run = shape.channels_last ? shape.channels : shape.spatial;
  bool packs = run % (shape.bf16 ? 8 : 4) == 0;
  for (const void* pointer : memory) {
    packs = packs && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  }
  if (shape.bf16) {
    if (packs) return call(__nv_bfloat16{}, std::integral_constant<int, 8>{});
    return call(__nv_bfloat16{}, std::integral_constant<int, 1>{});
  }
  if (packs) return call(float{}, std::integral_constant<int, 4>{});
  call(float{}, std::integral_constant<int, 1>{});
}

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace
}  // namespace lockstep::kernels::cuda
