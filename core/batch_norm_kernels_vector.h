// Vectors of 16 values over GCC's vector extensions, the two dtypes, and the ways through an
// activation: what the kernels' one implementation is written in. Internal linkage: each including
// file compiles it for its own instruction set, and the sets cannot mix.
#pragma once

#include <cstring>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "core/batch_norm_kernels.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kLanes = 16;
typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Mask __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t HalfWords __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(128)));

// Few enough that a block's lines are still in the first-level cache when the next 16 of its
// channels are visited (measured: 1.2 times faster than 8192 from 32 channels on), and that float32
// sums over it are precise.
constexpr int64_t kBlockValues = 1024;
constexpr int64_t kMinBlockRows = 16;

// Not std::min: a template shared with other files could be linked from the one compiled for the
// largest instruction set.
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

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

inline Vector splat(float v) { return Vector{} + v; }

// NaN stays, as in torch.relu, and lets the gradient through.
inline Vector relu(Vector v) { return v < 0.0f ? Vector{} : v; }
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

// Lifts dtype and flags to template parameters.
template <typename Call>
void with_dtype(const Activation& shape, Call&& call) {
  if (shape.bf16) {
    call(BFloat16{});
  } else {
    call(Float32{});
  }
}

// Visits a channels-last range: `vectors(row, channel, count)` for `count` rows of 16 channels at
// `channel`, `scalars(row, channel, count)` for single channels behind the last full vector. Block
// by block, so that all channels of a block are visited while it is cached.
template <typename Vectors, typename Scalars>
void visit_channels_last(const Activation& shape,
                         RowRange range,
                         Vectors&& vectors,
                         Scalars&& scalars) {
  const int64_t channels = shape.channels;
  const int64_t block_rows =
      channels < kBlockValues / kMinBlockRows ? kBlockValues / channels : kMinBlockRows;
  for (int64_t row = range.begin; row < range.end; row += block_rows) {
    const int64_t count = smaller(block_rows, range.end - row);
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) vectors(row, c, count);
    for (; c < channels; ++c) scalars(row, c, count);
  }
}

// Visits a channels-first range: `run(offset, channel, count)` for runs of at most a block of
// values of one channel.
template <typename Run>
void visit_channels_first(const Activation& shape, RowRange range, Run&& run) {
  for (int64_t image = range.begin; image < range.end; ++image) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = (image * shape.channels + c) * shape.spatial;
      for (int64_t i = 0; i < shape.spatial; i += kBlockValues)
        run(start + i, c, smaller(kBlockValues, shape.spatial - i));
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
