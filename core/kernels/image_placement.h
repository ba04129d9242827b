// What becomes of a stored image on its way into a batch, drawn by the host. Plain, for the host
// and for CUDA.
#pragma once

#include <cstdint>

namespace lockstep {

// Rows [top, bottom) and columns [left, right); nothing where it ends before it begins.
struct ImageArea {
  int32_t top = 0, left = 0, bottom = 0, right = 0;

  constexpr bool holds(int32_t y, int32_t x) const {
    return y >= top && y < bottom && x >= left && x < right;
  }
};

// Pixel (y, x) becomes the stored one at (y + down, x + right), outside the image zero or, with
// `reflected`, the one as far within; then columns are reversed, then areas blanked.
struct ImagePlacement {
  int64_t image = 0;  // which of the stored ones
  int32_t label = 0;
  int32_t down = 0, right = 0;  // with `reflected` less than the image's height and width
  int32_t reflected = 0;        // 0 or 1
  int32_t mirrored = 0;         // 0 or 1
  ImageArea blanked[2];
};

// The place in [0, size) that stands at `place` when what lies there is mirrored in its first and
// last: -1 is 1, size is size - 2 (numpy.pad's mode "reflect", torch's ReflectionPad2d).
constexpr int32_t reflected_place(int32_t place, int32_t size) {
  if (place < 0) return -place;
  return place < size ? place : 2 * (size - 1) - place;
}

// How a batch's images are mixed with their partners: data/loading/mixing.h.
struct MixingNumbers {
  float own = 1, partner = 0;  // weights of the labels and, for mixup, of the pixels
  int32_t cutmix = 0;          // 0 or 1: the area comes from the partner, the rest from the image
  ImageArea area;
};

}  // namespace lockstep
