// Sums run in two stages without atomics, so that they repeat bit for bit: blocks write float32
// partial sums about a shift, then a second kernel adds them in float64, in a fixed order.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <initializer_list>
#include <type_traits>

#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;
// Channels of a block of the second stage: one 32-byte sector of each partial sum.
constexpr int kFinishChannels = 8;
constexpr int kFinishRows = kThreads / kFinishChannels;
constexpr int64_t kMaxBlocks =
    512;  // of a first stage: enough to fill the largest devices with a few blocks an SM

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

struct GradientInput {
  const void *x, *dy, *y;  // y null: the mask is recomputed from x
  bool relu;
  Affine affine;
};

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

// What a first stage adds up at one place.
template <typename T, int kVector>
struct Moments {
  const void* x;
  int64_t spatial_of_first;  // distance between the first image's channels: where the shifts stand
  __device__ void operator()(int64_t at,
                             const int64_t (&channel)[kVector],
                             float (&first)[kVector],
                             float (&second)[kVector]) const {
    float v[kVector];
    load<T, kVector>(x, at, v);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float d = v[i] - to_float(static_cast<const T*>(x)[channel[i] * spatial_of_first]);
      first[i] += d;
      second[i] += d * d;
    }
  }
};

template <typename T, int kVector>
struct Gradients {
  GradientInput in;
  const float* mean;
  void* masked;
  __device__ void operator()(int64_t at,
                             const int64_t (&channel)[kVector],
                             float (&first)[kVector],
                             float (&second)[kVector]) const {
    float x[kVector], g[kVector];
    load_gradient<T, kVector>(in, at, channel, x, g);
    if (masked) store<T, kVector>(masked, at, g);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      first[i] += g[i];
      second[i] += g[i] * (x[i] - mean[channel[i]]);
    }
  }
};

// First stage, channels-last. A block has `lanes` threads across channels and kThreads / lanes down
// rows; blockIdx.y steps over channels where there are more than one row of lanes. scratch:
// [gridDim.x][2][channels].
template <int kVector, typename Term>
__global__ void sums_channels_last(
    Term term, int64_t rows, int64_t channels, int lanes, float* scratch) {
  __shared__ float shared[2][kThreads * kVector];
  const int lane = threadIdx.x % lanes, down = threadIdx.x / lanes, height = kThreads / lanes;
  const int64_t c = (blockIdx.y * static_cast<int64_t>(lanes) + lane) * kVector;
  float first[kVector] = {}, second[kVector] = {};
  if (c < channels && down < height) {
    int64_t channel[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) channel[i] = c + i;
    for (int64_t row = blockIdx.x * static_cast<int64_t>(height) + down; row < rows;
         row += static_cast<int64_t>(gridDim.x) * height) {
      term(row * channels + c, channel, first, second);
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    shared[0][threadIdx.x * kVector + i] = first[i];
    shared[1][threadIdx.x * kVector + i] = second[i];
  }
  __syncthreads();
  if (down != 0 || c >= channels) return;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    float a = 0, b = 0;
    for (int d = 0; d < height; ++d) {
      a += shared[0][(d * lanes + lane) * kVector + i];
      b += shared[1][(d * lanes + lane) * kVector + i];
    }
    scratch[(blockIdx.x * 2 + 0) * channels + c + i] = a;
    scratch[(blockIdx.x * 2 + 1) * channels + c + i] = b;
  }
}

// First stage, channels-first: block (part, channel) takes every gridDim.x-th image.
template <typename Term>
__global__ void sums_channels_first(
    Term term, int64_t images, int64_t channels, int64_t spatial, float* scratch) {
  __shared__ float shared[2][kThreads];
  const int64_t channel[1] = {blockIdx.y};
  float first[1] = {}, second[1] = {};
  for (int64_t n = blockIdx.x; n < images; n += gridDim.x) {
    const int64_t start = (n * channels + channel[0]) * spatial;
    for (int64_t i = threadIdx.x; i < spatial; i += kThreads)
      term(start + i, channel, first, second);
  }
  shared[0][threadIdx.x] = first[0];
  shared[1][threadIdx.x] = second[0];
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      shared[0][threadIdx.x] += shared[0][threadIdx.x + half];
      shared[1][threadIdx.x] += shared[1][threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    scratch[(blockIdx.x * 2 + 0) * channels + channel[0]] = shared[0][0];
    scratch[(blockIdx.x * 2 + 1) * channels + channel[0]] = shared[1][0];
  }
}

// Second stage. Moments: sums about the first values of the channels become sums about zero, and
// the count follows them (`x` cannot tell moments from gradients: it is null for an empty slice).
template <typename T, bool kMoments>
__global__ void finish_sums(const float* scratch,
                            int64_t parts,
                            int64_t channels,
                            const void* x,
                            int64_t spatial_of_first,
                            double count,
                            double* out) {
  __shared__ double shared[2][kFinishRows][kFinishChannels];
  const int lane = threadIdx.x % kFinishChannels, row = threadIdx.x / kFinishChannels;
  const int64_t c = blockIdx.x * static_cast<int64_t>(kFinishChannels) + lane;
  double first = 0, second = 0;
  if (c < channels) {
    for (int64_t p = row; p < parts; p += kFinishRows) {
      first += scratch[(p * 2 + 0) * channels + c];
      second += scratch[(p * 2 + 1) * channels + c];
    }
  }
  shared[0][row][lane] = first;
  shared[1][row][lane] = second;
  __syncthreads();
  if (row != 0 || c >= channels) return;
  for (int r = 1; r < kFinishRows; ++r) {
    first += shared[0][r][lane];
    second += shared[1][r][lane];
  }
  if constexpr (kMoments) {
    const double s = count > 0 ? to_float(static_cast<const T*>(x)[c * spatial_of_first]) : 0.0;
    second += 2 * s * first + count * s * s;
    first += count * s;
    if (c == 0) out[2 * channels] = count;
  }
  out[c] = first;
  out[channels + c] = second;
}

__global__ void make_coefficients(int64_t channels,
                                  const double* moments,
                                  const float* weight,
                                  const float* bias,
                                  double epsilon,
                                  Coefficients out) {
  const int64_t c = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (c >= channels) return;
  const double count = moments[2 * channels];
  const double mean = count > 0 ? moments[c] / count : 0.0;
  double variance = count > 0 ? moments[channels + c] / count - mean * mean : 0.0;
  if (variance < 0) variance = 0;
  const double inverse = 1.0 / sqrt(variance + epsilon);
  const double scale = weight[c] * inverse;
  out.mean[c] = static_cast<float>(mean);
  out.inverse_deviation[c] = static_cast<float>(inverse);
  out.unbiased_variance[c] = count > 1 ? static_cast<float>(variance * count / (count - 1)) : 0.0f;
  out.scale[c] = static_cast<float>(scale);
  out.offset[c] = static_cast<float>(bias[c] - mean * scale);
  if (c == 0) out.has_variance[0] = count > 1 ? 1.0f : 0.0f;
}

// dx = slopes[0] g + slopes[1] x + slopes[2]
__global__ void make_slopes(int64_t channels,
                            const double* sums,
                            const double* count,
                            const float* weight,
                            const float* mean,
                            const float* inverse_deviation,
                            float* slopes) {
  const int64_t c = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (c >= channels) return;
  const double n = *count > 1 ? *count : 1.0;
  const double inverse = inverse_deviation[c];
  const double factor = weight[c] * inverse;
  const double slope = sums[channels + c] / n * inverse * inverse;
  slopes[c] = static_cast<float>(factor);
  slopes[channels + c] = static_cast<float>(-factor * slope);
  slopes[2 * channels + c] = static_cast<float>(factor * (slope * mean[c] - sums[c] / n));
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
__global__ void apply_kernel(Activation shape,
                             int64_t packs,
                             const void* x,
                             const void* residual,
                             bool relu,
                             Affine affine,
                             void* y) {
  for (int64_t p = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; p < packs;
       p += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t at = p * kVector;
    int64_t channel[kVector];
    channels_at<kVector>(at, shape.channels, shape.spatial, shape.channels_last, channel);
    float v[kVector], r[kVector] = {};
    load<T, kVector>(x, at, v);
    if (residual) load<T, kVector>(residual, at, r);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      v[i] = fmaf(v[i], affine.scale[channel[i]], affine.offset[channel[i]]);
      if (residual) v[i] += r[i];
      if (relu) v[i] = v[i] < 0.0f ? 0.0f : v[i];  // NaN stays
    }
    store<T, kVector>(y, at, v);
  }
}

template <typename T, int kVector>
__global__ void input_gradient_kernel(
    Activation shape, int64_t packs, GradientInput in, const float* slopes, void* dx) {
  for (int64_t p = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; p < packs;
       p += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t at = p * kVector;
    int64_t channel[kVector];
    channels_at<kVector>(at, shape.channels, shape.spatial, shape.channels_last, channel);
    float x[kVector], g[kVector];
    load_gradient<T, kVector>(in, at, channel, x, g);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const int64_t c = channel[i];
      g[i] = fmaf(
          g[i], slopes[c], fmaf(x[i], slopes[shape.channels + c], slopes[2 * shape.channels + c]));
    }
    store<T, kVector>(dx, at, g);
  }
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
unsigned blocks_for(int64_t threads, int64_t limit) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks < limit ? blocks : limit);
}
int64_t values(const Activation& shape) { return shape.n * shape.channels * shape.spatial; }

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

unsigned finish_blocks(const Activation& shape) {
  return static_cast<unsigned>((shape.channels + kFinishChannels - 1) / kFinishChannels);
}

int64_t parts_of(const Activation& shape) {
  const int64_t wanted = shape.channels_last ? (shape.n * shape.spatial + 63) / 64 : shape.n;
  return wanted < 1 ? 1 : wanted < kMaxBlocks ? wanted : kMaxBlocks;
}

template <int kVector, typename Term, typename ScalarTerm>
void first_stage(const Activation& shape,
                 Term term,
                 ScalarTerm scalar_term,
                 float* scratch,
                 cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(parts_of(shape));
  if (shape.channels_last) {
    const int64_t packs = shape.channels / kVector;
    const int lanes = static_cast<int>(packs < kThreads ? packs : kThreads);
    const auto across = static_cast<unsigned>((packs + lanes - 1) / lanes);
    sums_channels_last<kVector><<<dim3(parts, across), kThreads, 0, stream>>>(
        term, shape.n * shape.spatial, shape.channels, lanes, scratch);
  } else {
    sums_channels_first<<<dim3(parts, static_cast<unsigned>(shape.channels)),
                          kThreads,
                          0,
                          stream>>>(scalar_term, shape.n, shape.channels, shape.spatial, scratch);
  }
}

}  // namespace

int64_t scratch_floats(const Activation& shape) { return parts_of(shape) * 2 * shape.channels; }

void moments(const Activation& shape, const void* x, float* scratch, double* out, void* stream) {
  const int64_t first = shape.channels_last ? 1 : shape.spatial;
  with_type(shape, {x}, [&](auto type, auto width) {
    using T = decltype(type);
    first_stage<width.value>(shape,
                             Moments<T, width.value>{x, first},
                             Moments<T, 1>{x, first},
                             scratch,
                             stream_of(stream));
    finish_sums<T, true><<<finish_blocks(shape), kThreads, 0, stream_of(stream)>>>(
        scratch,
        parts_of(shape),
        shape.channels,
        x,
        first,
        static_cast<double>(shape.n * shape.spatial),
        out);
  });
}

void coefficients(int64_t channels,
                  const double* moments,
                  const float* weight,
                  const float* bias,
                  double epsilon,
                  Coefficients out,
                  void* stream) {
  make_coefficients<<<blocks_for(channels, 1 << 20), kThreads, 0, stream_of(stream)>>>(
      channels, moments, weight, bias, epsilon, out);
}

void apply(const Activation& shape,
           const void* x,
           const void* residual,
           bool relu,
           Affine affine,
           void* y,
           void* stream) {
  with_type(shape, {x, residual, y}, [&](auto type, auto width) {
    const int64_t packs = values(shape) / width.value;
    apply_kernel<decltype(type), width.value>
        <<<blocks_for(packs, 4096), kThreads, 0, stream_of(stream)>>>(
            shape, packs, x, residual, relu, affine, y);
  });
}

void gradient_sums(const Activation& shape,
                   const void* x,
                   const void* dy,
                   const void* y,
                   bool relu,
                   Affine affine,
                   const float* mean,
                   void* masked,
                   float* scratch,
                   double* sums,
                   void* stream) {
  const GradientInput in{x, dy, y, relu, affine};
  with_type(shape, {x, dy, y, masked}, [&](auto type, auto width) {
    using T = decltype(type);
    first_stage<width.value>(shape,
                             Gradients<T, width.value>{in, mean, masked},
                             Gradients<T, 1>{in, mean, masked},
                             scratch,
                             stream_of(stream));
    finish_sums<T, false><<<finish_blocks(shape), kThreads, 0, stream_of(stream)>>>(
        scratch, parts_of(shape), shape.channels, nullptr, 0, 0.0, sums);
  });
}

void input_gradient(const Activation& shape,
                    const void* x,
                    const void* dy,
                    bool relu,
                    Affine affine,
                    const double* sums,
                    const double* count,
                    const float* weight,
                    const float* mean,
                    const float* inverse_deviation,
                    float* slopes,
                    void* dx,
                    void* stream) {
  make_slopes<<<blocks_for(shape.channels, 1 << 20), kThreads, 0, stream_of(stream)>>>(
      shape.channels, sums, count, weight, mean, inverse_deviation, slopes);
  const GradientInput in{x, dy, nullptr, relu, affine};
  with_type(shape, {x, dy, dx}, [&](auto type, auto width) {
    const int64_t packs = values(shape) / width.value;
    input_gradient_kernel<decltype(type), width.value>
        <<<blocks_for(packs, 4096), kThreads, 0, stream_of(stream)>>>(shape, packs, in, slopes, dx);
  });
}

}  // namespace lockstep::kernels::cuda
