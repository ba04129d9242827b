// The passes that write every value, and the formulas per channel where they stand alone.
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_gradient.cuh"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int64_t kMaxBlocks = 4096;  // a group: enough to fill the largest devices

template <typename Way>
struct Forward {
  ForwardMap map;

  using Constants = ThreadAffine<Way>;
  __device__ Constants constants(int64_t channel) const {
    Constants of;
    of.load(map.affine, channel);
    return of;
  }
  __device__ void operator()(int64_t at, const Constants& of) const {
    using T = typename Way::Type;
    float v[Way::kVector], r[Way::kVector];
    load<T, Way::kVector>(map.x, at, v);
    if (map.residual) load<T, Way::kVector>(map.residual, at, r);
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      const int c = Way::channel_of(i);
      v[i] = fmaf(v[i], of.scale[c], of.offset[c]);
      if (map.residual) v[i] += r[i];
      if (map.relu) v[i] = v[i] < 0.0f ? 0.0f : v[i];  // NaN stays
    }
    store<T, Way::kVector>(map.y, at, v);
  }
};

template <typename Way>
struct Backward {
  BackwardMap map;
  int64_t stride;

  struct Constants {
    typename Gradient<Way>::Constants gradient;
    float of_g[Way::kChannels], of_x[Way::kChannels], rest[Way::kChannels];
  };
  __device__ Constants constants(int64_t channel) const {
    Constants of{Gradient<Way>{map.in}.constants(channel), {}, {}, {}};
    load_channels(map.slopes, channel, of.of_g);
    load_channels(map.slopes + stride, channel, of.of_x);
    load_channels(map.slopes + 2 * stride, channel, of.rest);
    return of;
  }
  __device__ void operator()(int64_t at, const Constants& of) const {
    float x[Way::kVector], g[Way::kVector];
    Gradient<Way>{map.in}.load_both(at, of.gradient, x, g);
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      const int c = Way::channel_of(i);
      g[i] = fmaf(g[i], of.of_g[c], fmaf(x[i], of.of_x[c], of.rest[c]));
    }
    store<typename Way::Type, Way::kVector>(map.dx, at, g);
  }
};

// `Work` is Forward or Backward, `map` its map of group 0.
template <template <typename> typename Work, typename Way, typename Map, typename... Rest>
__global__ void __launch_bounds__(kThreads) write_rows(Way way, Map map, Rest... rest) {
  const ThreadRows rows = rows_of_thread(way);
  if (rows.begin >= rows.end) return;
  const Work<Way> work{map.of_group(rows.group, way.shape.group_stride), rest...};
  const auto constants = work.constants(rows.channel);
#pragma unroll 4
  for (int64_t row = rows.begin; row < rows.end; row += rows.step)
    work(way.offset(row, rows.channel), constants);
}

// One thread a channel.
template <typename Write>
__global__ void __launch_bounds__(kThreads) write_channels(Write write, int64_t channels) {
  const int64_t c = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (c < channels) write(c);
}

struct WriteCoefficients {
  CoefficientsOfMoments formula;
  StatisticsContribution contribution;
  bool contributes;
  __device__ void operator()(int64_t c) const {
    for (int64_t g = 0; g < formula.groups.count; ++g) formula.write(g, c);
    if (contributes) formula.contribute(c, 0, contribution);
  }
};

struct WriteSlopes {
  GradientsOfSums formula;
  __device__ void operator()(int64_t c) const {
    for (int64_t g = 0; g < formula.groups; ++g) formula.write_slopes(g, c);
  }
};

template <typename Write>
void launch_channels(const Write& write, int64_t channels, void* stream) {
  const auto blocks = static_cast<unsigned>((channels + kThreads - 1) / kThreads);
  write_channels<<<blocks, kThreads, 0, stream_of(stream)>>>(write, channels);
}

}  // namespace

void coefficients(const CoefficientsOfMoments& formula,
                  const StatisticsContribution* contribution,
                  void* stream) {
  launch_channels(WriteCoefficients{formula,
                                    contribution ? *contribution : StatisticsContribution{},
                                    contribution != nullptr},
                  formula.channels,
                  stream);
}

void slopes(const GradientsOfSums& formula, void* stream) {
  launch_channels(WriteSlopes{formula}, formula.stride, stream);
}

void apply(const Activation& shape, const ForwardMap& map, void* stream) {
  with_way(shape, {map.x, map.residual, map.y}, kMaxBlocks, [&](auto way) {
    write_rows<Forward><<<grid_of(way), kThreads, 0, stream_of(stream)>>>(way, map);
  });
}

void input_gradient(const Activation& shape, const BackwardMap& map, void* stream) {
  with_way(shape, {map.in.x, map.in.dy, map.dx}, kMaxBlocks, [&](auto way) {
    write_rows<Backward>
        <<<grid_of(way), kThreads, 0, stream_of(stream)>>>(way, map, shape.group_stride);
  });
}

}  // namespace lockstep::kernels::cuda
