// Sums run in two stages without atomics, so that they repeat bit for bit: blocks write float32
// partial sums about a shift, then a second kernel adds them in float64, in a fixed order.
#include "lockstep/core/kernels/batch_norm_device.cuh"
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"

namespace lockstep::kernels::cuda {
namespace {

// Channels of a block of the second stage: one 32-byte sector of each partial sum.
constexpr int kFinishChannels = 8;
constexpr int kFinishRows = kThreads / kFinishChannels;
// Of a first stage: enough to fill the largest devices with a few blocks an SM.
constexpr int64_t kMaxBlocks = 512;

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
  GradientTerms terms;
  __device__ void operator()(int64_t at,
                             const int64_t (&channel)[kVector],
                             float (&first)[kVector],
                             float (&second)[kVector]) const {
    float x[kVector], g[kVector];
    load_gradient<T, kVector>(terms.in, at, channel, x, g);
    if (terms.masked) store<T, kVector>(terms.masked, at, g);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      first[i] += g[i];
      second[i] += g[i] * (x[i] - terms.mean[channel[i]]);
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
    move_moments_to_zero(s, count, first, second);
    if (c == 0) out[2 * channels] = count;
  }
  out[c] = first;
  out[channels + c] = second;
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

void gradient_sums(const Activation& shape,
                   const GradientTerms& terms,
                   float* scratch,
                   double* out,
                   void* stream) {
  const GradientInput& in = terms.in;
  with_type(shape, {in.x, in.dy, in.y, terms.masked}, [&](auto type, auto width) {
    using T = decltype(type);
    first_stage<width.value>(shape,
                             Gradients<T, width.value>{terms},
                             Gradients<T, 1>{terms},
                             scratch,
                             stream_of(stream));
    finish_sums<T, false><<<finish_blocks(shape), kThreads, 0, stream_of(stream)>>>(
        scratch, parts_of(shape), shape.channels, nullptr, 0, 0.0, out);
  });
}

}  // namespace lockstep::kernels::cuda
