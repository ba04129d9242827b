// The kernels' one implementation: each including file compiles it for its own instruction set and
// names the resulting table in LOCKSTEP_KERNELS. Everything else here has internal linkage, so that
// the sets cannot mix.
#pragma once

#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/kernels/batch_norm_kernels_vector.h"

namespace lockstep::kernels {
namespace {

template <typename T>
const typename T::Value* values(const void* memory) {
  return static_cast<const typename T::Value*>(memory);
}
template <typename T>
typename T::Value* values(void* memory) {
  return static_cast<typename T::Value*>(memory);
}

// x - shift and its square.
template <typename T>
struct Moments {
  using VectorSum = typename T::Sum;
  using ScalarSum = typename T::ScalarSum;
  static constexpr bool kTwoAtATime = true;

  const typename T::Value* x;
  const float* shift;

  auto constants(auto channels) const { return channels(shift); }
  void vector(Place at, auto center, SumPair<VectorSum>& sums) const {
    const VectorSum v = T::widen(T::load_vector(x + at.x) - center);
    sums.first += v;
    sums.second += v * v;
  }
  void scalar(Place at, int64_t c, SumPair<ScalarSum>& sums) const {
    const ScalarSum v = T::load(x + at.x) - shift[c];
    sums.first += v;
    sums.second += v * v;
  }
};

template <typename Constant>
struct AffineOf {
  Constant scale, offset;
};

template <typename T, bool kRelu, bool kResidual>
struct Forward {
  const typename T::Value *x, *residual;
  Affine affine;
  typename T::Value* y;

  auto constants(auto channels) const {
    return AffineOf{channels(affine.scale), channels(affine.offset)};
  }
  void vector(Place at, const auto& of) const {
    Vector v = T::load_vector(x + at.x) * of.scale + of.offset;
    if constexpr (kResidual) v += T::load_vector(residual + at.y);
    if constexpr (kRelu) v = relu(v);
    T::store_vector(y + at.y, v);
  }
  void scalar(Place at, int64_t c) const {
    float v = T::load(x + at.x) * affine.scale[c] + affine.offset[c];
    if constexpr (kResidual) v += T::load(residual + at.y);
    if constexpr (kRelu) v = relu(v);
    T::store(y + at.y, v);
  }
};

enum class MaskFrom { kNothing, kInput, kOutput };

// x and g, as GradientInput has it.
template <typename T, MaskFrom kMask>
struct Gradient {
  const typename T::Value *x, *dy, *y;
  Affine affine;

  explicit Gradient(const GradientInput& in)
      : x(values<T>(in.x)), dy(values<T>(in.dy)), y(values<T>(in.y)), affine(in.affine) {}

  auto constants(auto channels) const {
    return AffineOf{channels(affine.scale), channels(affine.offset)};
  }
  Vector vector(Place at, Vector v, auto of) const {
    const Vector g = T::load_vector(dy + at.y);
    if constexpr (kMask == MaskFrom::kInput) return zero_where_closed(v * of.scale + of.offset, g);
    if constexpr (kMask == MaskFrom::kOutput) return zero_where_closed(T::load_vector(y + at.y), g);
    return g;
  }
  float scalar(Place at, float v, int64_t c) const {
    const float g = T::load(dy + at.y);
    if constexpr (kMask == MaskFrom::kInput)
      return v * affine.scale[c] + affine.offset[c] <= 0.0f ? 0.0f : g;
    if constexpr (kMask == MaskFrom::kOutput) return T::load(y + at.y) <= 0.0f ? 0.0f : g;
    return g;
  }
};

// g and g (x - mean).
template <typename T, MaskFrom kMask>
struct GradientSums {
  // float32 over a block is precise enough here: nothing that opens or closes depends on these
  // sums.
  using VectorSum = Vector;
  using ScalarSum = float;
  static constexpr bool kTwoAtATime = false;

  Gradient<T, kMask> gradient;
  const float* mean;
  typename T::Value* masked;

  template <typename Constant>
  struct Constants {
    AffineOf<Constant> affine;
    Constant mean;
  };
  auto constants(auto channels) const {
    return Constants{gradient.constants(channels), channels(mean)};
  }
  void vector(Place at, auto of, SumPair<Vector>& sums) const {
    const Vector v = T::load_vector(gradient.x + at.x);
    const Vector g = gradient.vector(at, v, of.affine);
    if constexpr (kMask == MaskFrom::kOutput) T::store_vector(masked + at.y, g);
    sums.first += g;
    sums.second += g * (v - of.mean);
  }
  void scalar(Place at, int64_t c, SumPair<float>& sums) const {
    const float v = T::load(gradient.x + at.x);
    const float g = gradient.scalar(at, v, c);
    if constexpr (kMask == MaskFrom::kOutput) T::store(masked + at.y, g);
    sums.first += g;
    sums.second += g * (v - mean[c]);
  }
};

template <typename T, MaskFrom kMask>
struct Backward {
  Gradient<T, kMask> gradient;
  const float *of_gradient, *of_x, *rest;  // the slopes
  typename T::Value* dx;

  template <typename Constant>
  struct Constants {
    AffineOf<Constant> affine;
    Constant of_gradient, of_x, rest;
  };
  auto constants(auto channels) const {
    return Constants{
        gradient.constants(channels), channels(of_gradient), channels(of_x), channels(rest)};
  }
  void vector(Place at, const auto& of) const {
    const Vector v = T::load_vector(gradient.x + at.x);
    const Vector g = gradient.vector(at, v, of.affine);
    T::store_vector(dx + at.x, g * of.of_gradient + (v * of.of_x + of.rest));
  }
  void scalar(Place at, int64_t c) const {
    const float v = T::load(gradient.x + at.x);
    const float g = gradient.scalar(at, v, c);
    T::store(dx + at.x, g * of_gradient[c] + (v * of_x[c] + rest[c]));
  }
};

// Lifts where the mask comes from to a template parameter: call(constant), constant.value.
template <MaskFrom kMask>
struct MaskConstant {
  static constexpr MaskFrom value = kMask;
};
template <typename Call>
void with_mask(const GradientInput& in, Call&& call) {
  if (!in.relu) return call(MaskConstant<MaskFrom::kNothing>{});
  if (in.y) return call(MaskConstant<MaskFrom::kOutput>{});
  call(MaskConstant<MaskFrom::kInput>{});
}

void forward_sums(
    const Activation& shape, const void* x, const float* shift, RowRange range, ChannelSums sums) {
  with_dtype(shape.bf16, [&](auto type) {
    using T = decltype(type);
    sum_all(shape, range, sums, Moments<T>{values<T>(x), shift});
  });
}

void forward_apply(const Activation& shape, const ForwardMap& map, RowRange range) {
  with_dtype(shape.bf16, [&](auto type) {
    using T = decltype(type);
    with_flag(map.relu, [&](auto relu) {
      with_flag(map.residual != nullptr, [&](auto residual) {
        write_all(shape,
                  range,
                  Forward<T, relu.value, residual.value>{
                      values<T>(map.x), values<T>(map.residual), map.affine, values<T>(map.y)});
      });
    });
  });
}

void backward_sums(const Activation& shape,
                   const GradientTerms& terms,
                   RowRange range,
                   ChannelSums sums) {
  with_dtype(shape.bf16, [&](auto type) {
    using T = decltype(type);
    with_mask(terms.in, [&](auto mask) {
      sum_all(shape,
              range,
              sums,
              GradientSums<T, mask.value>{
                  Gradient<T, mask.value>(terms.in), terms.mean, values<T>(terms.masked)});
    });
  });
}

void backward_apply(const Activation& shape, const BackwardMap& map, RowRange range) {
  with_dtype(shape.bf16, [&](auto type) {
    using T = decltype(type);
    with_flag(map.in.relu, [&](auto relu) {
      constexpr MaskFrom kMask = relu.value ? MaskFrom::kInput : MaskFrom::kNothing;
      write_all(shape,
                range,
                Backward<T, kMask>{Gradient<T, kMask>(map.in),
                                   map.slopes,
                                   map.slopes + shape.group_stride,
                                   map.slopes + 2 * shape.group_stride,
                                   values<T>(map.dx)});
    });
  });
}

}  // namespace

const BatchNormKernels& LOCKSTEP_KERNELS() {
  static constexpr BatchNormKernels kTable{
      forward_sums, forward_apply, backward_sums, backward_apply};
  return kTable;
}

}  // namespace lockstep::kernels
