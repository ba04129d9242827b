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

// Where a value lies: in x and dx, and in the other operands.
struct Place {
  int64_t x, y;
};
inline Place place(const Activation& shape, int64_t row, int64_t channel) {
  return {row * shape.x_stride + channel, row * shape.y_stride + channel};
}
inline Place place(int64_t offset) { return {offset, offset}; }

// What a vector of values is combined with: the constants of 16 neighbouring channels
// (channels-last), or one channel's for all of it (channels-first).
struct NeighbouringChannels {
  int64_t first;
  Vector operator()(const float* constants) const {
    return Float32::load_vector(constants + first);
  }
};
struct OneChannel {
  int64_t channel;
  float operator()(const float* constants) const { return constants[channel]; }
};

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

// Writes every value of a range. `map.constants(OneChannel or NeighbouringChannels)` gives what
// `map.vector(place, constants)` wants for 16 values; `map.scalar(place, channel)` takes one.
template <typename Map>
void write_all(const Activation& shape, RowRange range, const Map map) {
  if (!shape.channels_last) {
    visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
      const auto constants = map.constants(OneChannel{c});
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) map.vector(place(start + i), constants);
      for (; i < count; ++i) map.scalar(place(start + i), c);
    });
    return;
  }
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const auto constants = map.constants(NeighbouringChannels{c});
        for (int64_t r = row; r < row + count; ++r) map.vector(place(shape, r, c), constants);
      },
      [&](int64_t row, int64_t c, int64_t count) {
        for (int64_t r = row; r < row + count; ++r) map.scalar(place(shape, r, c), c);
      });
}

// Two running sums: of vectors or of single values.
template <typename Sum>
struct SumPair {
  Sum first{}, second{};
};

// Adds two sums per channel over a range to `sums`. `terms` is as write_all's `map`, but its
// functions add to a SumPair of Terms::VectorSum or Terms::ScalarSum. Terms::kTwoAtATime: within a
// run of one channel, vectors are added to two pairs in turn.
template <typename Terms>
void sum_channels_first(const Activation& shape,
                        RowRange range,
                        ChannelSums sums,
                        const Terms terms) {
  constexpr int64_t kStep = Terms::kTwoAtATime ? 2 * kLanes : kLanes;
  visit_channels_first(shape, range, [&](int64_t start, int64_t c, int64_t count) {
    const auto constants = terms.constants(OneChannel{c});
    SumPair<typename Terms::VectorSum> sum, other;
    int64_t i = 0;
    for (; i + kStep <= count; i += kStep) {
      terms.vector(place(start + i), constants, sum);
      if constexpr (Terms::kTwoAtATime) terms.vector(place(start + i + kLanes), constants, other);
    }
    SumPair<typename Terms::ScalarSum> tail;
    for (; i < count; ++i) terms.scalar(place(start + i), c, tail);
    if constexpr (Terms::kTwoAtATime) {
      sum.first += other.first;
      sum.second += other.second;
    }
    sums.first[c] += total(sum.first) + tail.first;
    sums.second[c] += total(sum.second) + tail.second;
  });
}

template <typename Terms>
void sum_all(const Activation& shape, RowRange range, ChannelSums sums, const Terms terms) {
  if (!shape.channels_last) return sum_channels_first(shape, range, sums, terms);
  visit_channels_last(
      shape,
      range,
      [&](int64_t row, int64_t c, int64_t count) {
        const auto constants = terms.constants(NeighbouringChannels{c});
        SumPair<typename Terms::VectorSum> l[4];
        int64_t r = row;
        for (; r + 4 <= row + count; r += 4) {
          for (int64_t u = 0; u < 4; ++u) terms.vector(place(shape, r + u, c), constants, l[u]);
        }
        for (; r < row + count; ++r) terms.vector(place(shape, r, c), constants, l[0]);
        add_to(sums.first + c, (l[0].first + l[1].first) + (l[2].first + l[3].first));
        add_to(sums.second + c, (l[0].second + l[1].second) + (l[2].second + l[3].second));
      },
      [&](int64_t row, int64_t c, int64_t count) {
        SumPair<typename Terms::ScalarSum> sum;
        for (int64_t r = row; r < row + count; ++r) terms.scalar(place(shape, r, c), c, sum);
        sums.first[c] += sum.first;
        sums.second[c] += sum.second;
      });
}

}  // namespace
}  // namespace lockstep::kernels
