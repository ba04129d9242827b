// Neighbouring float32 or bfloat16 values that a CUDA kernel moves at once. Internal linkage.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

namespace lockstep::kernels::cuda {
namespace {

__device__ float to_float(float v) { return v; }
__device__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ void from_float(float v, float* out) { *out = v; }
__device__ void from_float(float v, __nv_bfloat16* out) { *out = __float2bfloat16_rn(v); }

// kVector neighbouring values, moved in one access of up to 16 bytes.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T value[kVector];
};

// For memory that the kernel does not write: the 16 bytes of a whole pack are told to be read-only,
// so that loads may overtake stores.
template <typename T, int kVector>
__device__ Pack<T, kVector> fetch(const void* from, int64_t at) {
  const auto* place = reinterpret_cast<const Pack<T, kVector>*>(static_cast<const T*>(from) + at);
  Pack<T, kVector> pack;
  if constexpr (sizeof pack == sizeof(uint4)) {
    const uint4 bits = __ldg(reinterpret_cast<const uint4*>(place));
    memcpy(&pack, &bits, sizeof pack);
  } else {
    pack = *place;
  }
  return pack;
}

template <typename T, int kVector>
__device__ void unpack(const Pack<T, kVector>& pack, float (&out)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) out[i] = to_float(pack.value[i]);
}

template <typename T, int kVector>
__device__ void load(const void* from, int64_t at, float (&out)[kVector]) {
  unpack(fetch<T, kVector>(from, at), out);
}

template <typename T, int kVector>
__device__ void store(void* to, int64_t at, const float (&in)[kVector]) {
  Pack<T, kVector> pack;
#pragma unroll
  for (int i = 0; i < kVector; ++i) from_float(in[i], &pack.value[i]);
  auto* place = reinterpret_cast<Pack<T, kVector>*>(static_cast<T*>(to) + at);
  if constexpr (sizeof pack == sizeof(uint4)) {
    uint4 bits;
    memcpy(&bits, &pack, sizeof pack);
    __stwb(reinterpret_cast<uint4*>(place), bits);  // as `=`, which nvcc may cut into four
  } else {
    *place = pack;
  }
}

// Calls `call(T, values of a pack)` with packs of 16 bytes where `run` neighbouring values are
// whole packs and all of `memory` is aligned, else with single values.
template <typename Call>
void with_packs(bool bf16,
                int64_t run,
                std::initializer_list<const void*> memory,
                const Call& call) {
  bool packs = run % (bf16 ? 8 : 4) == 0;
  for (const void* pointer : memory)
    packs = packs && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  if (bf16) {
    if (packs) return call(__nv_bfloat16{}, std::integral_constant<int, 8>{});
    return call(__nv_bfloat16{}, std::integral_constant<int, 1>{});
  }
  if (packs) return call(float{}, std::integral_constant<int, 4>{});
  call(float{}, std::integral_constant<int, 1>{});
}

}  // namespace
}  // namespace lockstep::kernels::cuda
