// The passes that write every value, and the per-channel formulas before them.
#include "lockstep/core/kernels/batch_norm_device.cuh"
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int64_t kMaxBlocks = 4096;  // enough to fill the largest devices; threads loop

// One thread a channel.
template <typename Formula>
__global__ void write_channels(Formula formula) {
  const int64_t c = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (c < formula.channels) formula.write(c);
}

// Channels of kVector neighbouring values at `at`.
template <int kVector>
__device__ void channels_at(int64_t at,
                            int64_t channels,
                            int64_t spatial,
                            bool channels_last,
                            int64_t (&channel)[kVector]) {
  const int64_t c = channels_last ? at % channels : (at / spatial) % channels;
#pragma unroll
  for (int i = 0; i < kVector; ++i) channel[i] = channels_last ? c + i : c;
}

template <typename T, int kVector>
struct Forward {
  ForwardMap map;
  __device__ void operator()(int64_t at, const int64_t (&channel)[kVector]) const {
    float v[kVector], r[kVector] = {};
    load<T, kVector>(map.x, at, v);
    if (map.residual) load<T, kVector>(map.residual, at, r);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      v[i] = fmaf(v[i], map.affine.scale[channel[i]], map.affine.offset[channel[i]]);
      if (map.residual) v[i] += r[i];
      if (map.relu) v[i] = v[i] < 0.0f ? 0.0f : v[i];  // NaN stays
    }
    store<T, kVector>(map.y, at, v);
  }
};

template <typename T, int kVector>
struct Backward {
  BackwardMap map;
  int64_t channels;
  __device__ void operator()(int64_t at, const int64_t (&channel)[kVector]) const {
    float x[kVector], g[kVector];
    load_gradient<T, kVector>(map.in, at, channel, x, g);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float* slopes = map.slopes + channel[i];
      g[i] = fmaf(g[i], slopes[0], fmaf(x[i], slopes[channels], slopes[2 * channels]));
    }
    store<T, kVector>(map.dx, at, g);
  }
};

// Calls map(offset, channels) for every pack of kVector neighbouring values.
template <int kVector, typename Map>
__global__ void write_packs(Activation shape, int64_t packs, Map map) {
  for (int64_t p = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; p < packs;
       p += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t at = p * kVector;
    int64_t channel[kVector];
    channels_at<kVector>(at, shape.channels, shape.spatial, shape.channels_last, channel);
    map(at, channel);
  }
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}
unsigned blocks_for_packs(int64_t packs) {
  const unsigned blocks = blocks_for(packs < kMaxBlocks * kThreads ? packs : kMaxBlocks * kThreads);
  return blocks < 1 ? 1 : blocks;
}

template <int kVector, typename Map>
void launch_packs(const Activation& shape, const Map& map, void* stream) {
  const int64_t packs = shape.n * shape.channels * shape.spatial / kVector;
  write_packs<kVector>
      <<<blocks_for_packs(packs), kThreads, 0, stream_of(stream)>>>(shape, packs, map);
}

template <typename Formula>
void launch_channels(const Formula& formula, void* stream) {
  write_channels<<<blocks_for(formula.channels), kThreads, 0, stream_of(stream)>>>(formula);
}

}  // namespace

void coefficients(const CoefficientsOfMoments& formula, void* stream) {
  launch_channels(formula, stream);
}

void slopes(const SlopesOfSums& formula, void* stream) { launch_channels(formula, stream); }

void apply(const Activation& shape, const ForwardMap& map, void* stream) {
  with_type(shape, {map.x, map.residual, map.y}, [&](auto type, auto width) {
    launch_packs<width.value>(shape, Forward<decltype(type), width.value>{map}, stream);
  });
}

void input_gradient(const Activation& shape, const BackwardMap& map, void* stream) {
  with_type(shape, {map.in.x, map.in.dy, map.dx}, [&](auto type, auto width) {
    launch_packs<width.value>(
        shape, Backward<decltype(type), width.value>{map, shape.channels}, stream);
  });
}

}  // namespace lockstep::kernels::cuda
