// The ways through an activation that the batch norm kernels take.
#pragma once

#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/kernels/vector16.h"

namespace lockstep::kernels {
namespace {

// Few enough that a block's lines are still in the first-level cache when the next 16 of its
// channels are visited (measured: 1.2 times faster than 8192 from 32 channels on), and that float32
// sums over it are precise.
constexpr int64_t kBlockValues = 1024;
constexpr int64_t kMinBlockRows = 16;

// Not std::min: a template shared with other files could be linked from the one compiled for the
// largest instruction set.
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Visits a channels-last range: `vectors(row, channel, count)` for `count` rows of 16 channels at
// `channel`, `scalars(row, channel, count)` for single channels behind the last full vector. Block
// by block, so that all channels of a block are visited while it is cached.
template <typename Vectors, typename Scalars>
void visit_channels_last(const Activation& shape,
                         RowRange range,
                         Vectors&& vectors,
                         Scalars&& scalars) {
  const int64_t channels = shape.channels;
  const int64_t block_rows =
      channels < kBlockValues / kMinBlockRows ? kBlockValues / channels : kMinBlockRows;
  for (int64_t row = range.begin; row < range.end; row += block_rows) {
    const int64_t count = smaller(block_rows, range.end - row);
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) vectors(row, c, count);
    for (; c < channels; ++c) scalars(row, c, count);
  }
}

// Visits a channels-first range: `run(offset, channel, count)` for runs of at most a block of
// values of one channel.
template <typename Run>
void visit_channels_first(const Activation& shape, RowRange range, Run&& run) {
  for (int64_t image = range.begin; image < range.end; ++image) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = (image * shape.channels + c) * shape.spatial;
      for (int64_t i = 0; i < shape.spatial; i += kBlockValues)
        run(start + i, c, smaller(kBlockValues, shape.spatial - i));
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
