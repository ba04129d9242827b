// The kernels' one implementation, over GCC's vector extensions: each including file compiles it for its own instruction set and names
// the resulting table in LOCKSTEP_KERNELS. Everything else here has internal linkage, so that the sets cannot mix.
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

// A block of values stays in the first-level cache while all its channels are visited.
constexpr int64_t kBlockValues = 8192;

// Not std::min: a template shared with other files could be linked from the one compiled for the largest instruction set.
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct Float32 {
  using Value = float;
  // Sums of float32 values are taken in float64: they then round to the same statistics however a batch is cut over ranks, so that the same
  // ReLUs open (one that opens differently changes a gradient by 1e-4).
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
    *p = v != v ? uint16_t{0x7FC0} : static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
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
  double sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
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

// Visits a channels-last range: `vectors(row, channel, count)` for `count` rows of 16 channels at `channel`, `scalars(row, channel, count)` for
// single channels behind the last full vector. Block by block, so that all channels of a block are visited while it is cached.
template <typename Vectors, typename Scalars>
void visit_channels_last(const Activation& shape, RowRange range, Vectors&& vectors, Scalars&& scalars) {
  const int64_t channels = shape.channels;
  const int64_t block_rows = channels < kBlockValues / 8 ? kBlockValues / channels : 8;
  for (int64_t row = range.begin; row < range.end; row += block_rows) {
    const int64_t count = smaller(block_rows, range.end - row);
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) vectors(row, c, count);
    for (; c < channels; ++c) scalars(row, c, count);
  }
}

// Visits a channels-first range: `run(offset, channel, count)` for runs of at most a block of values of one channel.
template <typename Run>
void visit_channels_first(const Activation& shape, RowRange range, Run&& run) {
  for (int64_t image = range.begin; image < range.end; ++image) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = (image * shape.channels + c) * shape.spatial;
      for (int64_t i = 0; i < shape.spatial; i += kBlockValues) run(start + i, c, smaller(kBlockValues, shape.spatial - i));
    }
  }
}

template <typename T>
void forward_sums_of(const Activation& shape, const typename T::Value* x, const float* shift, RowRange range, double* sum,
                     double* squares) {
  using Sum = typename T::Sum;
  const int64_t channels = shape.channels;
  const auto vector = [&](int64_t at, Vector center, Sum& s, Sum& q) {
    const Sum v = T::widen(T::load_vector(x + at) - center);
    s += v;
    q += v * v;
  };
  const auto scalar = [&](int64_t at, int64_t c, typename T::ScalarSum& s, typename T::ScalarSum& q) {
    const typename T::ScalarSum v = T::load(x + at) - shift[c];
    s += v;
    q += v * v;
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      Sum s[2] = {}, q[2] = {};
      const Vector center = splat(shift[c]);
      int64_t i = 0;
      for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
        for (int64_t u = 0; u < 2; ++u) vector(start + i + u * kLanes, center, s[u], q[u]);
      }
      typename T::ScalarSum s_tail = 0, q_tail = 0;
      for (; i < count; ++i) scalar(start + i, c, s_tail, q_tail);
      sum[c] += total(s[0] + s[1]) + s_tail;
      squares[c] += total(q[0] + q[1]) + q_tail;
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const int64_t start = row * channels + c;
        const Vector center = Float32::load_vector(shift + c);
        Sum s[4] = {}, q[4] = {};
        int64_t r = 0;
        for (; r + 4 <= count; r += 4) {
          for (int64_t u = 0; u < 4; ++u) vector(start + (r + u) * channels, center, s[u], q[u]);
        }
        for (; r < count; ++r) vector(start + r * channels, center, s[0], q[0]);
        add_to(sum + c, (s[0] + s[1]) + (s[2] + s[3]));
        add_to(squares + c, (q[0] + q[1]) + (q[2] + q[3]));
      },
      [&](int64_t row, int64_t c, int64_t count) {
        typename T::ScalarSum s = 0, q = 0;
        for (int64_t r = row; r < row + count; ++r) scalar(r * channels + c, c, s, q);
        sum[c] += s;
        squares[c] += q;
      });
}

template <typename T, bool kRelu, bool kResidual>
void forward_apply_of(const Activation& shape, const typename T::Value* x, const typename T::Value* residual, Affine affine,
                      typename T::Value* y, RowRange range) {
  const auto vector = [&](int64_t at, Vector scale, Vector offset) {
    Vector v = T::load_vector(x + at) * scale + offset;
    if constexpr (kResidual) v += T::load_vector(residual + at);
    if constexpr (kRelu) v = relu(v);
    T::store_vector(y + at, v);
  };
  const auto scalar = [&](int64_t at, int64_t c) {
    float v = T::load(x + at) * affine.scale[c] + affine.offset[c];
    if constexpr (kResidual) v += T::load(residual + at);
    if constexpr (kRelu) v = relu(v);
    T::store(y + at, v);
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      const Vector scale = splat(affine.scale[c]), offset = splat(affine.offset[c]);
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) vector(start + i, scale, offset);
      for (; i < count; ++i) scalar(start + i, c);
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c), offset = Float32::load_vector(affine.offset + c);
        for (int64_t r = row; r < row + count; ++r) vector(r * shape.channels + c, scale, offset);
      },
      [&](int64_t row, int64_t c, int64_t count) {
        for (int64_t r = row; r < row + count; ++r) scalar(r * shape.channels + c, c);
      });
}

enum class MaskFrom { kNothing, kInput, kOutput };

// dy, or zero where the relu was closed.
template <typename T, MaskFrom kMask>
inline Vector masked_vector(const typename T::Value* dy, const typename T::Value* y, int64_t at, Vector x, Vector scale,
                            Vector offset) {
  const Vector g = T::load_vector(dy + at);
  if constexpr (kMask == MaskFrom::kInput) return x * scale + offset <= 0.0f ? Vector{} : g;
  if constexpr (kMask == MaskFrom::kOutput) return T::load_vector(y + at) <= 0.0f ? Vector{} : g;
  return g;
}

template <typename T, MaskFrom kMask>
inline float masked_scalar(const typename T::Value* dy, const typename T::Value* y, int64_t at, float x, float scale, float offset) {
  const float g = T::load(dy + at);
  if constexpr (kMask == MaskFrom::kInput) return x * scale + offset <= 0.0f ? 0.0f : g;
  if constexpr (kMask == MaskFrom::kOutput) return T::load(y + at) <= 0.0f ? 0.0f : g;
  return g;
}

template <typename T, MaskFrom kMask, bool kWrite>
void backward_sums_of(const Activation& shape, const typename T::Value* x, const typename T::Value* dy, const typename T::Value* y,
                      Affine affine, const float* mean, typename T::Value* masked, RowRange range, double* sum,
                      double* product_sum) {
  struct Lane {
    typename T::Sum s{}, q{};
  };
  using ScalarSum = typename T::ScalarSum;
  const auto vector = [&](int64_t at, Vector scale, Vector offset, Vector center, Lane& lane) {
    const Vector v = T::load_vector(x + at);
    const Vector g = masked_vector<T, kMask>(dy, y, at, v, scale, offset);
    if constexpr (kWrite) T::store_vector(masked + at, g);
    const typename T::Sum wide = T::widen(g);
    lane.s += wide;
    lane.q += wide * T::widen(v - center);
  };
  const auto scalar = [&](int64_t at, int64_t c, ScalarSum& s, ScalarSum& q) {
    const float v = T::load(x + at);
    const float g = masked_scalar<T, kMask>(dy, y, at, v, affine.scale[c], affine.offset[c]);
    if constexpr (kWrite) T::store(masked + at, g);
    s += g;
    q += static_cast<ScalarSum>(g) * (v - mean[c]);
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      Lane lane;
      ScalarSum s = 0, q = 0;
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) {
        vector(start + i, splat(affine.scale[c]), splat(affine.offset[c]), splat(mean[c]), lane);
      }
      for (; i < count; ++i) scalar(start + i, c, s, q);
      sum[c] += total(lane.s) + s;
      product_sum[c] += total(lane.q) + q;
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c), offset = Float32::load_vector(affine.offset + c);
        const Vector center = Float32::load_vector(mean + c);
        const int64_t start = row * shape.channels + c;
        Lane lanes[4];
        int64_t r = 0;
        for (; r + 4 <= count; r += 4) {
          for (int64_t u = 0; u < 4; ++u) vector(start + (r + u) * shape.channels, scale, offset, center, lanes[u]);
        }
        for (; r < count; ++r) vector(start + r * shape.channels, scale, offset, center, lanes[0]);
        add_to(sum + c, (lanes[0].s + lanes[1].s) + (lanes[2].s + lanes[3].s));
        add_to(product_sum + c, (lanes[0].q + lanes[1].q) + (lanes[2].q + lanes[3].q));
      },
      [&](int64_t row, int64_t c, int64_t count) {
        ScalarSum s = 0, q = 0;
        for (int64_t r = row; r < row + count; ++r) scalar(r * shape.channels + c, c, s, q);
        sum[c] += s;
        product_sum[c] += q;
      });
}

template <typename T, MaskFrom kMask>
void backward_apply_of(const Activation& shape, const typename T::Value* x, const typename T::Value* dy, Affine affine, const float* a,
                       const float* b, const float* k, typename T::Value* dx, RowRange range) {
  const auto vector = [&](int64_t at, Vector scale, Vector offset, Vector va, Vector vb, Vector vk) {
    const Vector v = T::load_vector(x + at);
    const Vector g = masked_vector<T, kMask>(dy, nullptr, at, v, scale, offset);
    T::store_vector(dx + at, g * va + (v * vb + vk));
  };
  const auto scalar = [&](int64_t at, int64_t c) {
    const float v = T::load(x + at);
    const float g = masked_scalar<T, kMask>(dy, nullptr, at, v, affine.scale[c], affine.offset[c]);
    T::store(dx + at, g * a[c] + (v * b[c] + k[c]));
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      const Vector scale = splat(affine.scale[c]), offset = splat(affine.offset[c]);
      const Vector va = splat(a[c]), vb = splat(b[c]), vk = splat(k[c]);
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) vector(start + i, scale, offset, va, vb, vk);
      for (; i < count; ++i) scalar(start + i, c);
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c), offset = Float32::load_vector(affine.offset + c);
        const Vector va = Float32::load_vector(a + c), vb = Float32::load_vector(b + c), vk = Float32::load_vector(k + c);
        for (int64_t r = row; r < row + count; ++r) vector(r * shape.channels + c, scale, offset, va, vb, vk);
      },
      [&](int64_t row, int64_t c, int64_t count) {
        for (int64_t r = row; r < row + count; ++r) scalar(r * shape.channels + c, c);
      });
}

void forward_sums(const Activation& shape, const void* x, const float* shift, RowRange range, double* sum, double* squares) {
  with_dtype(shape, [&]<typename T>(T) {
    forward_sums_of<T>(shape, static_cast<const typename T::Value*>(x), shift, range, sum, squares);
  });
}

void forward_apply(const Activation& shape, const void* x, const void* residual, bool relu, Affine affine, void* y, RowRange range) {
  with_dtype(shape, [&]<typename T>(T) {
    using Value = typename T::Value;
    const auto run = [&]<bool kRelu, bool kResidual>() {
      forward_apply_of<T, kRelu, kResidual>(
          shape, static_cast<const Value*>(x), static_cast<const Value*>(residual), affine, static_cast<Value*>(y), range);
    };
    if (residual && relu) return run.template operator()<true, true>();
    if (residual) return run.template operator()<false, true>();
    if (relu) return run.template operator()<true, false>();
    run.template operator()<false, false>();
  });
}

void backward_sums(const Activation& shape, const void* x, const void* dy, const void* y, bool relu, Affine affine, const float* mean,
                   void* masked, RowRange range, double* sum, double* product_sum) {
  with_dtype(shape, [&]<typename T>(T) {
    using Value = typename T::Value;
    const auto run = [&]<MaskFrom kMask, bool kWrite>() {
      backward_sums_of<T, kMask, kWrite>(shape,
                                         static_cast<const Value*>(x),
                                         static_cast<const Value*>(dy),
                                         static_cast<const Value*>(y),
                                         affine,
                                         mean,
                                         static_cast<Value*>(masked),
                                         range,
                                         sum,
                                         product_sum);
    };
    if (!relu) return run.template operator()<MaskFrom::kNothing, false>();
    if (y && masked) return run.template operator()<MaskFrom::kOutput, true>();
    if (y) return run.template operator()<MaskFrom::kOutput, false>();
    run.template operator()<MaskFrom::kInput, false>();
  });
}

void backward_apply(const Activation& shape, const void* x, const void* dy, bool relu, Affine affine, const float* a, const float* b,
                    const float* k, void* dx, RowRange range) {
  with_dtype(shape, [&]<typename T>(T) {
    using Value = typename T::Value;
    const auto run = [&]<MaskFrom kMask>() {
      backward_apply_of<T, kMask>(
          shape, static_cast<const Value*>(x), static_cast<const Value*>(dy), affine, a, b, k, static_cast<Value*>(dx), range);
    };
    if (relu) return run.template operator()<MaskFrom::kInput>();
    run.template operator()<MaskFrom::kNothing>();
  });
}

}  // namespace

const BatchNormKernels& LOCKSTEP_KERNELS() {
  static constexpr BatchNormKernels kTable{forward_sums, forward_apply, backward_sums, backward_apply};
  return kTable;
}

}  // namespace lockstep::kernels
