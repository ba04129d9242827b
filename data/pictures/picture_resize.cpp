#include <algorithm>
#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

// As Pillow scales, bit for bit (11.3; from some later version on, tall pictures differ by 1 in
// some samples). LibTorch's own _upsample_bilinear2d_aa does not: 4 samples in 100 differ in 8
// bits, by up to 2, and 11 in 100 by way of floats. Weights are integers of 22 fractional bits, so
// that a sum of 8-bit products fits 32 bits.
constexpr int kFractionalBits = 32 - 8 - 2;
constexpr int64_t kMaxSide = 65536;

// Which inputs make one output along one axis, and by what weights.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

// Outputs [offset, offset + side) of `in` samples scaled to `out`.
std::vector<Taps> triangle_taps(int64_t in, int64_t out, int64_t offset, int64_t side) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<size_t>(side));
  for (int64_t i = 0; i < side; ++i) {
    const double centre = (static_cast<double>(offset + i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const int64_t end = std::min(in, static_cast<int64_t>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = first; x < end; ++x) {
      const double distance = std::abs((static_cast<double>(x) - centre + 0.5) / support);
      weights.push_back(std::max(0.0, 1 - distance));
      sum += weights.back();
    }
    Taps& tap = taps[static_cast<size_t>(i)];
    tap.first = first;
    for (const double weight : weights) {
      tap.weights.push_back(
          static_cast<int32_t>(0.5 + weight / sum * static_cast<double>(1 << kFractionalBits)));
    }
  }
  return taps;
}

// `in` points at the first of the samples, `stride` apart.
uint8_t weighted(const Taps& taps, const uint8_t* in, int64_t stride) {
  int32_t sum = 1 << (kFractionalBits - 1);
  for (const int32_t weight : taps.weights) {
    sum += weight * *in;
    in += stride;
  }
  return static_cast<uint8_t>(std::clamp(sum >> kFractionalBits, 0, 255));
}

struct Axis {
  int64_t scaled = 0;  // length of the whole side after scaling
  int64_t offset = 0;  // of the square within it
};

Axis scale_axis(int64_t length, int64_t shorter, int64_t side) {
  const auto scaled =
      static_cast<int64_t>(static_cast<double>(side * length) / static_cast<double>(shorter));
  // Half to even, as Python's round.
  return {scaled, static_cast<int64_t>(std::nearbyint(static_cast<double>(scaled - side) / 2))};
}

}  // namespace

Picture resize_to_square(const Picture& picture, int64_t side) {
  LOCKSTEP_CHECK(side > 0 && side <= kMaxSide, "a square of side {}", side);
  const int64_t shorter = std::min(picture.width, picture.height);
  const Axis across = scale_axis(picture.width, shorter, side);
  const Axis down = scale_axis(picture.height, shorter, side);
  const auto columns = triangle_taps(picture.width, across.scaled, across.offset, side);
  const auto rows = triangle_taps(picture.height, down.scaled, down.offset, side);
  // Only the rows that the square needs are scaled across.
  const int64_t first_row = rows.front().first;
  const int64_t num_rows =
      rows.back().first + static_cast<int64_t>(rows.back().weights.size()) - first_row;

  Picture out{picture.channels, side, side, {}};
  out.pixels.resize(static_cast<size_t>(picture.channels * side * side));
  std::vector<uint8_t> narrow(static_cast<size_t>(num_rows * side));
  for (int64_t c = 0; c < picture.channels; ++c) {
    const uint8_t* plane = picture.pixels.data() + c * picture.height * picture.width;
    for (int64_t y = 0; y < num_rows; ++y) {
      const uint8_t* row = plane + (first_row + y) * picture.width;
      for (int64_t x = 0; x < side; ++x) {
        const Taps& taps = columns[static_cast<size_t>(x)];
        narrow[static_cast<size_t>(y * side + x)] = weighted(taps, row + taps.first, 1);
      }
    }
    uint8_t* square = out.pixels.data() + c * side * side;
    for (int64_t y = 0; y < side; ++y) {
      const Taps& taps = rows[static_cast<size_t>(y)];
      const uint8_t* first = narrow.data() + (taps.first - first_row) * side;
      for (int64_t x = 0; x < side; ++x) square[y * side + x] = weighted(taps, first + x, side);
    }
  }
  return out;
}

}  // namespace lockstep
