// Vectors of 16 values over GCC's vector extensions, and the two dtypes in memory: what CPU kernels
// are written in. Internal linkage: each including file compiles it for its own instruction set,
// and the sets cannot mix.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace lockstep::kernels {
namespace {

constexpr int64_t kLanes = 16;
using Vector = float __attribute__((vector_size(64)));
using Mask = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using HalfWords = uint16_t __attribute__((vector_size(32)));
using Bytes = uint8_t __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(128)));

struct Float32 {
  using Value = float;
  // Sums of float32 values are taken in float64: they then round to the same statistics however a
  // batch is cut over ranks, so that the same ReLUs open (one that opens differently changes a
  // gradient by 1e-4).
  using Sum = Doubles;
  using ScalarSum = double;
  static Sum widen(Vector v) { return __builtin_convertvector(v, Doubles); }
  static float load(const float* p) { return *p; }
  static void store(float* p, float v) { *p = v; }
  static Vector load_vector(const float* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store_vector(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }
  static void store_exact(float* p, Vector v) { store_vector(p, v); }
};

struct BFloat16 {
  using Value = uint16_t;
  // Sums over one block, about a shift: float32 is precise enough beside values of 8 bits.
  using Sum = Vector;
  using ScalarSum = float;
  static Sum widen(Vector v) { return v; }
  static float load(const uint16_t* p) {
    const uint32_t bits = static_cast<uint32_t>(*p) << 16;
    float v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
  }
  static void store(uint16_t* p, float v) {  // round to nearest even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    *p = v != v ? uint16_t{0x7FC0}
                : static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
  }
  static Vector load_vector(const uint16_t* p) {
    HalfWords half;
    std::memcpy(&half, p, sizeof half);
    const Words words = __builtin_convertvector(half, Words) << 16;
    return reinterpret_cast<Vector>(words);
  }
  // Of values that came from memory as they are: nothing is rounded, nothing flushed to zero.
  static void store_exact(uint16_t* p, Vector v) {
    const HalfWords half = __builtin_convertvector(reinterpret_cast<Words>(v) >> 16, HalfWords);
    std::memcpy(p, &half, sizeof half);
  }
  static void store_vector(uint16_t* p, Vector v) {
#ifdef __AVX512BF16__
    const __m256bh half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(v));
    std::memcpy(p, &half, sizeof half);
#else
    const Words bits = reinterpret_cast<Words>(v);
    Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    rounded = v != v ? Words{} + 0x7FC0u : rounded;
    const HalfWords half = __builtin_convertvector(rounded, HalfWords);
    std::memcpy(p, &half, sizeof half);
#endif
  }
};

// Lifts the dtype to a template parameter.
template <typename Call>
void with_dtype(bool bf16, Call&& call) {
  if (bf16) {
    call(BFloat16{});
  } else {
    call(Float32{});
  }
}

// Lifts a flag to a template parameter: call(constant), constant.value.
template <bool kValue>
struct Flag {
  static constexpr bool value = kValue;
};
template <typename Call>
void with_flag(bool flag, Call&& call) {
  if (flag) {
    call(Flag<true>{});
  } else {
    call(Flag<false>{});
  }
}

// 16 bytes as 32-bit values, and back. GCC 12 converts them one by one where it is not told how.
inline Mask load_bytes(const uint8_t* p) {
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
#if defined(__AVX512F__)
  // With a mask of ones: the form without one is taken for uninitialised (GCC bug 105593).
  return reinterpret_cast<Mask>(
      _mm512_maskz_cvtepu8_epi32(0xFFFF, reinterpret_cast<__m128i>(bytes)));
#elif defined(__AVX2__)
  const auto all = reinterpret_cast<__m128i>(bytes);
  const __m256i halves[] = {_mm256_cvtepu8_epi32(all),
                            _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(all, all))};
  Mask values;
  std::memcpy(&values, halves, sizeof values);
  return values;
#else
  return __builtin_convertvector(__builtin_convertvector(bytes, HalfWords), Mask);
#endif
}

inline void store_bytes(uint8_t* p, Mask values) {
#ifdef __AVX512F__
  const Bytes bytes = __builtin_convertvector(values, Bytes);
#else
  const Bytes bytes = __builtin_convertvector(__builtin_convertvector(values, HalfWords), Bytes);
#endif
  std::memcpy(p, &bytes, sizeof bytes);
}

inline Vector splat(float v) { return Vector{} + v; }

#if defined(__AVX2__) && !defined(__AVX512F__)
// 0 where `compared` is what kComparison says beside 0, else `v`. GCC 12 takes a choice between
// vectors longer than registers apart into single values.
template <int kComparison>
inline Vector zero_where(Vector compared, Vector v) {
  __m256 halves[2], values[2];
  std::memcpy(&halves, &compared, sizeof compared);
  std::memcpy(&values, &v, sizeof v);
  for (int i = 0; i < 2; ++i) {
    const __m256 zeroed = _mm256_cmp_ps(halves[i], _mm256_setzero_ps(), kComparison);
    values[i] = _mm256_andnot_ps(zeroed, values[i]);
  }
  std::memcpy(&v, &values, sizeof v);
  return v;
}
inline Vector zero_where_negative(Vector y, Vector v) { return zero_where<_CMP_LT_OQ>(y, v); }
inline Vector zero_where_closed(Vector y, Vector v) { return zero_where<_CMP_LE_OQ>(y, v); }
#else
inline Vector zero_where_negative(Vector y, Vector v) { return y < 0.0f ? Vector{} : v; }
inline Vector zero_where_closed(Vector y, Vector v) { return y <= 0.0f ? Vector{} : v; }
#endif

// NaN stays, as in torch.relu, and lets the gradient through.
inline Vector relu(Vector v) { return zero_where_negative(v, v); }
inline float relu(float v) { return v < 0.0f ? 0.0f : v; }

template <typename Sum>
void add_to(double* sums, Sum v) {
  Doubles total;
  std::memcpy(&total, sums, sizeof total);
  total += __builtin_convertvector(v, Doubles);
  std::memcpy(sums, &total, sizeof total);
}

template <typename Sum>
double total(Sum v) {
  double sums[4] = {};
  for (int64_t i = 0; i < kLanes; i += 4) {
    for (int64_t j = 0; j < 4; ++j) sums[j] += v[i + j];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace
}  // namespace lockstep::kernels
