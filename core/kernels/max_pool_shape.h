// What max pooling's kernels work on, for the CPU's and CUDA's alike: channels-last memory, no
// LibTorch, C++17.
#pragma once

#include <cstdint>

namespace lockstep::kernels {

struct Span {
  int64_t begin, end;
};

// x: [n, in_height, in_width, channels], y: [n, out_height, out_width, channels]. A window's places
// ("taps") are numbered row by row, from 0 to size * size - 1, those in the padding included.
struct MaxPoolShape {
  int64_t channels = 0;
  int64_t in_height = 0, in_width = 0, out_height = 0, out_width = 0;
  int64_t size = 0, stride = 0, padding = 0;  // of the windows, at most 16 x 16
  bool bf16 = false;                          // else float32

  // The taps, along one side, of a window that begins at `start` which lie within [0, extent).
  constexpr Span inside(int64_t start, int64_t extent) const {
    return {start < 0 ? -start : 0, size < extent - start ? size : extent - start};
  }

  // The windows, of so many along one side, that cover `place`.
  constexpr Span covering(int64_t place, int64_t windows) const {
    const int64_t last = (place + padding) / stride;
    const int64_t before = place + padding - size;  // a window from there on ends too soon
    const int64_t first = before < 0 ? 0 : before / stride + 1;
    return {first, last + 1 < windows ? last + 1 : windows};
  }
};

}  // namespace lockstep::kernels
