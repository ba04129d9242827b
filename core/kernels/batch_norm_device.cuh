// What the CUDA kernels of fused batch normalisation share. Internal linkage: for batch_norm_*.cu
// alone.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>

#include "lockstep/core/kernels/batch_norm_operands.h"
#include "lockstep/core/kernels/packs.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Of neighbouring channels.
template <int kChannels>
__device__ void load_channels(const float* from, int64_t channel, float (&out)[kChannels]) {
#pragma unroll
  for (int i = 0; i < kChannels; ++i) out[i] = from[channel + i];
}

// A launch's way through an activation. blockIdx.y is a column of neighbouring channels; blockIdx.x
// is one of `parts` parts of a group's rows, group by group. A thread stays with its channels, so
// that it reads what it needs of them once.
template <typename T, bool kChannelsLast, int kValues>
struct Way {
  using Type = T;
  static constexpr int kVector = kValues;                        // of a pack, moved at once
  static constexpr int kChannels = kChannelsLast ? kValues : 1;  // of a thread
  // Across a column: what 128 bytes hold.
  static constexpr int kMaxLanes = kChannelsLast ? 128 / static_cast<int>(sizeof(T)) / kValues : 1;

  Activation shape;
  int lanes;  // threads across channels; the others stand down rows
  int parts;

  // The channel of a pack's value.
  static constexpr int channel_of(int i) { return kChannelsLast ? i : 0; }

  // A row is one pack a thread.
  constexpr int64_t rows_per_image() const {
    return kChannelsLast ? shape.spatial : shape.spatial / kVector;
  }
  __device__ int64_t offset(int64_t row, int64_t channel) const {
    if constexpr (kChannelsLast) return row * shape.channels + channel;
    const int64_t packs = shape.spatial / kVector;
    return (row / packs * shape.channels + channel) * shape.spatial + row % packs * kVector;
  }
  // The first value of a channel in a group, which must not be empty.
  __device__ int64_t first_offset(int64_t group, int64_t channel) const {
    return offset(shape.groups.begin(group) * rows_per_image(), channel);
  }

  __device__ int64_t column_begin() const {
    return blockIdx.y * static_cast<int64_t>(lanes) * kChannels;
  }
  __device__ int column_width() const {
    const int64_t left = shape.channels - column_begin();
    return left < lanes * kChannels ? static_cast<int>(left) : lanes * kChannels;
  }
};

// What a thread goes through: rows begin, begin + step, … below end; none where it has no channels.
struct ThreadRows {
  int64_t group, channel, begin, end, step;
  int down;  // the thread's own among the block's rows
};
template <typename Way>
__device__ ThreadRows rows_of_thread(const Way& way) {
  const int lane = static_cast<int>(threadIdx.x) % way.lanes;
  const int down = static_cast<int>(threadIdx.x) / way.lanes, height = kThreads / way.lanes;
  const int group = static_cast<int>(blockIdx.x) / way.parts;
  const int part = static_cast<int>(blockIdx.x) % way.parts;
  const int64_t channel = way.column_begin() + lane * Way::kChannels;
  const int64_t rows = way.rows_per_image();
  const int64_t begin =
      way.shape.groups.begin(group) * rows + part * static_cast<int64_t>(height) + down;
  const bool works = channel < way.shape.channels && down < height;
  return {.group = group,
          .channel = channel,
          .begin = begin,
          .end = works ? way.shape.groups.begin(group + 1) * rows : begin,
          .step = static_cast<int64_t>(way.parts) * height,
          .down = down};
}

// An affine map of a thread's channels.
template <typename Way>
struct ThreadAffine {
  float scale[Way::kChannels], offset[Way::kChannels];
  __device__ void load(const Affine& affine, int64_t channel) {
    load_channels(affine.scale, channel, scale);
    load_channels(affine.offset, channel, offset);
  }
};

// At least so many rows a thread.
constexpr int64_t kThreadRows = 4;

template <typename Way>
Way way_through(const Activation& shape, int64_t most_blocks) {
  const int64_t packs = shape.channels / Way::kChannels;
  const int64_t lanes = packs < Way::kMaxLanes ? packs : Way::kMaxLanes;
  const int64_t columns = (packs + lanes - 1) / lanes;
  Way way{shape, static_cast<int>(lanes), 1};
  // Of the largest of all groups, these or others': a group's sums then hang on the group alone.
  const int64_t rows = shape.groups.largest() * way.rows_per_image();
  const int64_t rows_of_block = kThreads / lanes * kThreadRows;
  const int64_t wanted = (rows + rows_of_block - 1) / rows_of_block;
  const int64_t most = most_blocks < columns ? 1 : most_blocks / columns;
  way.parts = static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
  return way;
}

// Calls `call(way)`; a group gets at most `most_blocks` blocks.
template <typename Call>
void with_way(const Activation& shape,
              std::initializer_list<const void*> memory,
              int64_t most_blocks,
              Call&& call) {
  const int64_t run = shape.channels_last ? shape.channels : shape.spatial;
  with_packs(shape.bf16, run, memory, [&](auto type, auto width) {
    using T = decltype(type);
    if (shape.channels_last) {
      call(way_through<Way<T, true, width.value>>(shape, most_blocks));
    } else {
      call(way_through<Way<T, false, width.value>>(shape, most_blocks));
    }
  });
}

template <typename Way>
dim3 grid_of(const Way& way) {
  const int64_t width = static_cast<int64_t>(way.lanes) * Way::kChannels;
  return dim3(static_cast<unsigned>(way.shape.groups.count * way.parts),
              static_cast<unsigned>((way.shape.channels + width - 1) / width));
}

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace
}  // namespace lockstep::kernels::cuda
