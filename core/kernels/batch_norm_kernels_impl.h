// The kernels' one implementation: each including file compiles it for its own instruction set and
// names the resulting table in LOCKSTEP_KERNELS. Everything else here has internal linkage, so that
// the sets cannot mix.
#pragma once

#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/kernels/batch_norm_kernels_vector.h"

namespace lockstep::kernels {
namespace {

// Where a value lies: in x and dx, and in the other operands.
struct Place {
  int64_t x, y;
};
inline Place place(const Activation& shape, int64_t row, int64_t channel) {
  return {row * shape.x_stride + channel, row * shape.y_stride + channel};
}

template <typename T>
void forward_sums_of(const Activation& shape,
                     const typename T::Value* x,
                     const float* shift,
                     RowRange range,
                     double* sum,
                     double* squares) {
  using Sum = typename T::Sum;
  const int64_t stride = shape.x_stride;
  const auto vector = [&](int64_t at, Vector center, Sum& s, Sum& q) {
    const Sum v = T::widen(T::load_vector(x + at) - center);
    s += v;
    q += v * v;
  };
  const auto scalar =
      [&](int64_t at, int64_t c, typename T::ScalarSum& s, typename T::ScalarSum& q) {
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
        const int64_t start = row * stride + c;
        const Vector center = Float32::load_vector(shift + c);
        Sum s[4] = {}, q[4] = {};
        int64_t r = 0;
        for (; r + 4 <= count; r += 4) {
          for (int64_t u = 0; u < 4; ++u) vector(start + (r + u) * stride, center, s[u], q[u]);
        }
        for (; r < count; ++r) vector(start + r * stride, center, s[0], q[0]);
        add_to(sum + c, (s[0] + s[1]) + (s[2] + s[3]));
        add_to(squares + c, (q[0] + q[1]) + (q[2] + q[3]));
      },
      [&](int64_t row, int64_t c, int64_t count) {
        typename T::ScalarSum s = 0, q = 0;
        for (int64_t r = row; r < row + count; ++r) scalar(r * stride + c, c, s, q);
        sum[c] += s;
        squares[c] += q;
      });
}

template <typename T, bool kRelu, bool kResidual>
void forward_apply_of(const Activation& shape,
                      const typename T::Value* x,
                      const typename T::Value* residual,
                      Affine affine,
                      typename T::Value* y,
                      RowRange range) {
  const auto vector = [&](Place at, Vector scale, Vector offset) {
    Vector v = T::load_vector(x + at.x) * scale + offset;
    if constexpr (kResidual) v += T::load_vector(residual + at.y);
    if constexpr (kRelu) v = relu(v);
    T::store_vector(y + at.y, v);
  };
  const auto scalar = [&](Place at, int64_t c) {
    float v = T::load(x + at.x) * affine.scale[c] + affine.offset[c];
    if constexpr (kResidual) v += T::load(residual + at.y);
    if constexpr (kRelu) v = relu(v);
    T::store(y + at.y, v);
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      const Vector scale = splat(affine.scale[c]), offset = splat(affine.offset[c]);
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) vector({start + i, start + i}, scale, offset);
      for (; i < count; ++i) scalar({start + i, start + i}, c);
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c),
                     offset = Float32::load_vector(affine.offset + c);
        for (int64_t r = row; r < row + count; ++r) vector(place(shape, r, c), scale, offset);
      },
      [&](int64_t row, int64_t c, int64_t count) {
        for (int64_t r = row; r < row + count; ++r) scalar(place(shape, r, c), c);
      });
}

enum class MaskFrom { kNothing, kInput, kOutput };

// dy, or zero where the relu was closed.
template <typename T, MaskFrom kMask>
inline Vector masked_vector(const typename T::Value* dy,
                            const typename T::Value* y,
                            int64_t at,
                            Vector x,
                            Vector scale,
                            Vector offset) {
  const Vector g = T::load_vector(dy + at);
  if constexpr (kMask == MaskFrom::kInput) return x * scale + offset <= 0.0f ? Vector{} : g;
  if constexpr (kMask == MaskFrom::kOutput) return T::load_vector(y + at) <= 0.0f ? Vector{} : g;
  return g;
}

template <typename T, MaskFrom kMask>
inline float masked_scalar(const typename T::Value* dy,
                           const typename T::Value* y,
                           int64_t at,
                           float x,
                           float scale,
                           float offset) {
  const float g = T::load(dy + at);
  if constexpr (kMask == MaskFrom::kInput) return x * scale + offset <= 0.0f ? 0.0f : g;
  if constexpr (kMask == MaskFrom::kOutput) return T::load(y + at) <= 0.0f ? 0.0f : g;
  return g;
}

template <typename T, MaskFrom kMask, bool kWrite>
void backward_sums_of(const Activation& shape,
                      const typename T::Value* x,
                      const typename T::Value* dy,
                      const typename T::Value* y,
                      Affine affine,
                      const float* mean,
                      typename T::Value* masked,
                      RowRange range,
                      double* sum,
                      double* product_sum) {
  // float32 over a block is precise enough here: nothing that opens or closes depends on these
  // sums.
  struct Lane {
    Vector s{}, q{};
  };
  const auto vector = [&](Place at, Vector scale, Vector offset, Vector center, Lane& lane) {
    const Vector v = T::load_vector(x + at.x);
    const Vector g = masked_vector<T, kMask>(dy, y, at.y, v, scale, offset);
    if constexpr (kWrite) T::store_vector(masked + at.y, g);
    lane.s += g;
    lane.q += g * (v - center);
  };
  const auto scalar = [&](Place at, int64_t c, float& s, float& q) {
    const float v = T::load(x + at.x);
    const float g = masked_scalar<T, kMask>(dy, y, at.y, v, affine.scale[c], affine.offset[c]);
    if constexpr (kWrite) T::store(masked + at.y, g);
    s += g;
    q += g * (v - mean[c]);
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      Lane lane;
      float s = 0, q = 0;
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) {
        vector({start + i, start + i},
               splat(affine.scale[c]),
               splat(affine.offset[c]),
               splat(mean[c]),
               lane);
      }
      for (; i < count; ++i) scalar({start + i, start + i}, c, s, q);
      sum[c] += total(lane.s) + s;
      product_sum[c] += total(lane.q) + q;
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c),
                     offset = Float32::load_vector(affine.offset + c);
        const Vector center = Float32::load_vector(mean + c);
        Lane lanes[4];
        int64_t r = row;
        for (; r + 4 <= row + count; r += 4) {
          for (int64_t u = 0; u < 4; ++u)
            vector(place(shape, r + u, c), scale, offset, center, lanes[u]);
        }
        for (; r < row + count; ++r) vector(place(shape, r, c), scale, offset, center, lanes[0]);
        add_to(sum + c, (lanes[0].s + lanes[1].s) + (lanes[2].s + lanes[3].s));
        add_to(product_sum + c, (lanes[0].q + lanes[1].q) + (lanes[2].q + lanes[3].q));
      },
      [&](int64_t row, int64_t c, int64_t count) {
        float s = 0, q = 0;
        for (int64_t r = row; r < row + count; ++r) scalar(place(shape, r, c), c, s, q);
        sum[c] += s;
        product_sum[c] += q;
      });
}

template <typename T, MaskFrom kMask>
void backward_apply_of(const Activation& shape,
                       const typename T::Value* x,
                       const typename T::Value* dy,
                       Affine affine,
                       const float* a,
                       const float* b,
                       const float* k,
                       typename T::Value* dx,
                       RowRange range) {
  const auto vector = [&](Place at, Vector scale, Vector offset, Vector va, Vector vb, Vector vk) {
    const Vector v = T::load_vector(x + at.x);
    const Vector g = masked_vector<T, kMask>(dy, nullptr, at.y, v, scale, offset);
    T::store_vector(dx + at.x, g * va + (v * vb + vk));
  };
  const auto scalar = [&](Place at, int64_t c) {
    const float v = T::load(x + at.x);
    const float g =
        masked_scalar<T, kMask>(dy, nullptr, at.y, v, affine.scale[c], affine.offset[c]);
    T::store(dx + at.x, g * a[c] + (v * b[c] + k[c]));
  };
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      const Vector scale = splat(affine.scale[c]), offset = splat(affine.offset[c]);
      const Vector va = splat(a[c]), vb = splat(b[c]), vk = splat(k[c]);
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes)
        vector({start + i, start + i}, scale, offset, va, vb, vk);
      for (; i < count; ++i) scalar({start + i, start + i}, c);
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const Vector scale = Float32::load_vector(affine.scale + c),
                     offset = Float32::load_vector(affine.offset + c);
        const Vector va = Float32::load_vector(a + c), vb = Float32::load_vector(b + c),
                     vk = Float32::load_vector(k + c);
        for (int64_t r = row; r < row + count; ++r)
          vector(place(shape, r, c), scale, offset, va, vb, vk);
      },
      [&](int64_t row, int64_t c, int64_t count) {
        for (int64_t r = row; r < row + count; ++r) scalar(place(shape, r, c), c);
      });
}

void forward_sums(const Activation& shape,
                  const void* x,
                  const float* shift,
                  RowRange range,
                  double* sum,
                  double* squares) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
    forward_sums_of<T>(shape, static_cast<const typename T::Value*>(x), shift, range, sum, squares);
  });
}

void forward_apply(const Activation& shape,
                   const void* x,
                   const void* residual,
                   bool relu,
                   Affine affine,
                   void* y,
                   RowRange range) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
    using Value = typename T::Value;
    const auto run = [&]<bool kRelu, bool kResidual>() {
      forward_apply_of<T, kRelu, kResidual>(shape,
                                            static_cast<const Value*>(x),
                                            static_cast<const Value*>(residual),
                                            affine,
                                            static_cast<Value*>(y),
                                            range);
    };
    if (residual && relu) return run.template operator()<true, true>();
    if (residual) return run.template operator()<false, true>();
    if (relu) return run.template operator()<true, false>();
    run.template operator()<false, false>();
  });
}

void backward_sums(const Activation& shape,
                   const void* x,
                   const void* dy,
                   const void* y,
                   bool relu,
                   Affine affine,
                   const float* mean,
                   void* masked,
                   RowRange range,
                   double* sum,
                   double* product_sum) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
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

void backward_apply(const Activation& shape,
                    const void* x,
                    const void* dy,
                    bool relu,
                    Affine affine,
                    const float* a,
                    const float* b,
                    const float* k,
                    void* dx,
                    RowRange range) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
    using Value = typename T::Value;
    const auto run = [&]<MaskFrom kMask>() {
      backward_apply_of<T, kMask>(shape,
                                  static_cast<const Value*>(x),
                                  static_cast<const Value*>(dy),
                                  affine,
                                  a,
                                  b,
                                  k,
                                  static_cast<Value*>(dx),
                                  range);
    };
    if (relu) return run.template operator()<MaskFrom::kInput>();
    run.template operator()<MaskFrom::kNothing>();
  });
}

}  // namespace

const BatchNormKernels& LOCKSTEP_KERNELS() {
  static constexpr BatchNormKernels kTable{
      forward_sums, forward_apply, backward_sums, backward_apply};
  return kTable;
}

}  // namespace lockstep::kernels
