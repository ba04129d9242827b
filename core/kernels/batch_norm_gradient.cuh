// The gradient that reaches fused batch normalisation, behind the ReLU that it may have swallowed.
// Internal linkage: for batch_norm_*.cu alone.
#pragma once

#include "lockstep/core/kernels/batch_norm_device.cuh"

namespace lockstep::kernels::cuda {
namespace {

// x and g, as GradientInput has it.
template <typename Way>
struct Gradient {
  GradientInput in;

  using Constants = ThreadAffine<Way>;
  __device__ Constants constants(int64_t channel) const {
    Constants of{};
    if (in.relu && !in.y) of.load(in.affine, channel);
    return of;
  }

  __device__ void load_both(int64_t at,
                            const Constants& of,
                            float (&x)[Way::kVector],
                            float (&g)[Way::kVector]) const {
    using T = typename Way::Type;
    load<T, Way::kVector>(in.x, at, x);
    load<T, Way::kVector>(in.dy, at, g);
    if (!in.relu) return;
    float y[Way::kVector];
    if (in.y) load<T, Way::kVector>(in.y, at, y);
    close_relu(of, x, y, g);
  }

  // The same in two parts, for several places at once.
  struct Values {
    Pack<typename Way::Type, Way::kVector> x, dy, y;
  };
  __device__ Values fetch_all(int64_t at) const {
    using T = typename Way::Type;
    Values values{fetch<T, Way::kVector>(in.x, at), fetch<T, Way::kVector>(in.dy, at), {}};
    if (in.relu && in.y) values.y = fetch<T, Way::kVector>(in.y, at);
    return values;
  }
  __device__ void unpack_both(const Values& values,
                              const Constants& of,
                              float (&x)[Way::kVector],
                              float (&g)[Way::kVector]) const {
    unpack(values.x, x);
    unpack(values.dy, g);
    if (!in.relu) return;
    float y[Way::kVector];
    unpack(values.y, y);
    close_relu(of, x, y, g);
  }

  __device__ void close_relu(const Constants& of,
                             const float (&x)[Way::kVector],
                             const float (&y)[Way::kVector],
                             float (&g)[Way::kVector]) const {
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      const int c = Way::channel_of(i);
      if ((in.y ? y[i] : fmaf(x[i], of.scale[c], of.offset[c])) <= 0.0f) g[i] = 0.0f;
    }
  }
};

}  // namespace
}  // namespace lockstep::kernels::cuda
