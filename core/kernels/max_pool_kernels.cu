// A thread has a pack of neighbouring channels of one place: of y forward, of dx backward, which
// gathers what the windows over the place send to it; nothing is added atomically.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <initializer_list>

#include "lockstep/core/kernels/launch_size.cuh"
#include "lockstep/core/kernels/max_pool_kernels_cuda.h"
#include "lockstep/core/kernels/packs.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The packs of an activation, numbered as they lie in memory. Index is 32 bits wide where that is
// enough: a division by a number that is not known takes several times as long in 64.
template <typename Index>
struct Place {
  Index row, column;  // row: of all images' rows
  int64_t channel;    // the pack's first
  __device__ Place(Index pack, Index packs, Index width, int values)
      : row(pack / packs / width),
        column(pack / packs % width),
        channel(static_cast<int64_t>(pack % packs) * values) {}
};

template <typename T, int kVector, typename Index>
__global__ void __launch_bounds__(kThreads)
    pool(MaxPoolShape shape, Index count, const void* x, void* y, uint8_t* taps) {
  const auto packs = static_cast<Index>(shape.channels / kVector);
  const Index step = static_cast<Index>(gridDim.x) * kThreads;
  for (Index pack = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; pack < count;
       pack += step) {
    const Place<Index> place(pack, packs, static_cast<Index>(shape.out_width), kVector);
    const auto height = static_cast<Index>(shape.out_height);
    const int64_t top = static_cast<int64_t>(place.row % height) * shape.stride - shape.padding;
    const int64_t left = static_cast<int64_t>(place.column) * shape.stride - shape.padding;
    const Span rows = shape.inside(top, shape.in_height);
    const Span columns = shape.inside(left, shape.in_width);
    const int64_t image = static_cast<int64_t>(place.row / height) * shape.in_height;
    float best[kVector];
    int tap[kVector];
    bool first = true;
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        float v[kVector];
        load<T, kVector>(
            x, ((image + top + i) * shape.in_width + left + j) * shape.channels + place.channel, v);
#pragma unroll
        for (int k = 0; k < kVector; ++k) {
          if (!first && !(v[k] > best[k]) && v[k] == v[k]) continue;
          best[k] = v[k];
          tap[k] = static_cast<int>(i * shape.size + j);
        }
        first = false;
      }
    }
    const int64_t at = static_cast<int64_t>(pack) * kVector;
    Pack<uint8_t, kVector> bytes;
#pragma unroll
    for (int k = 0; k < kVector; ++k) bytes.value[k] = static_cast<uint8_t>(tap[k]);
    store<T, kVector>(y, at, best);
    *reinterpret_cast<Pack<uint8_t, kVector>*>(taps + at) = bytes;
  }
}

template <typename T, int kVector, typename Index>
__global__ void __launch_bounds__(kThreads) pool_gradient(MaxPoolShape shape,
                                                          Index count,
                                                          const void* dy,
                                                          const uint8_t* taps,
                                                          const void* base,
                                                          void* dx) {
  const auto packs = static_cast<Index>(shape.channels / kVector);
  const Index step = static_cast<Index>(gridDim.x) * kThreads;
  for (Index pack = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; pack < count;
       pack += step) {
    const Place<Index> place(pack, packs, static_cast<Index>(shape.in_width), kVector);
    const auto height = static_cast<Index>(shape.in_height);
    const auto line = static_cast<int64_t>(place.row % height);
    const auto column = static_cast<int64_t>(place.column);
    const Span rows = shape.covering(line, shape.out_height);
    const Span columns = shape.covering(column, shape.out_width);
    const int64_t image = static_cast<int64_t>(place.row / height) * shape.out_height;
    const int64_t at = static_cast<int64_t>(pack) * kVector;
    float sum[kVector] = {};
    if (base) load<T, kVector>(base, at, sum);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        // This place's number in window (i, j).
        const auto tap = static_cast<int>((line - i * shape.stride + shape.padding) * shape.size +
                                          column - j * shape.stride + shape.padding);
        const int64_t window = ((image + i) * shape.out_width + j) * shape.channels + place.channel;
        const auto from = *reinterpret_cast<const Pack<uint8_t, kVector>*>(taps + window);
        float v[kVector];
        load<T, kVector>(dy, window, v);
#pragma unroll
        for (int k = 0; k < kVector; ++k) {
          if (from.value[k] == tap) sum[k] += v[k];
        }
      }
    }
    store<T, kVector>(dx, at, sum);
  }
}

// Calls `call(T, values of a pack, Index)` for an activation of so many `places`.
template <typename Call>
void with_way(const MaxPoolShape& shape,
              int64_t places,
              std::initializer_list<const void*> memory,
              const Call& call) {
  with_packs(shape.bf16, shape.channels, memory, [&](auto type, auto width) {
    constexpr int64_t kHalf = int64_t{1} << 31;  // a step beyond the end must not wrap
    if (places * shape.channels < kHalf) return call(type, width, unsigned{});
    call(type, width, uint64_t{});
  });
}

}  // namespace

void max_pool(
    const MaxPoolShape& shape, int64_t n, const void* x, void* y, uint8_t* taps, void* stream) {
  const int64_t places = n * shape.out_height * shape.out_width;
  if (places * shape.channels == 0) return;
  with_way(shape,
           n * shape.in_height * shape.in_width,
           {x, y, taps},
           [&](auto type, auto width, auto index) {
             constexpr int kVector = decltype(width)::value;
             const int64_t count = places * shape.channels / kVector;
             pool<decltype(type), kVector, decltype(index)>
                 <<<blocks_for(count, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
                     shape, static_cast<decltype(index)>(count), x, y, taps);
           });
}

void max_pool_gradient(const MaxPoolShape& shape,
                       int64_t n,
                       const void* dy,
                       const uint8_t* taps,
                       const void* base,
                       void* dx,
                       void* stream) {
  const int64_t places = n * shape.in_height * shape.in_width;
  if (places * shape.channels == 0) return;
  with_way(shape, places, {dy, taps, base, dx}, [&](auto type, auto width, auto index) {
    constexpr int kVector = decltype(width)::value;
    const int64_t count = places * shape.channels / kVector;
    pool_gradient<decltype(type), kVector, decltype(index)>
        <<<blocks_for(count, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
            shape, static_cast<decltype(index)>(count), dy, taps, base, dx);
  });
}

}  // namespace lockstep::kernels::cuda
