// What the kernels of fused batch normalisation work on, for the CPU's and CUDA's alike: plain
// memory, no LibTorch, C++17.
#pragma once

#include <cstdint>

#include "lockstep/core/base/image_groups.h"

namespace lockstep::kernels {

// An activation of n images, `spatial` = height * width values per channel and image.
struct Activation {
  int64_t n = 0, channels = 0, spatial = 0;
  bool channels_last = false;
  bool bf16 = false;  // else float32
  // Channels-last on a CPU: values from one row to the next, of x and dx, and of everything else.
  // More than the channels where a tensor is a slice of a wider one's channels.
  int64_t x_stride = 0, y_stride = 0;
  ImageGroups groups;  // of the n images
  // Of what there is per group and channel: values from one group to the next. More than the
  // channels where these are some of a wider norm's.
  int64_t group_stride = 0;

  // Work is cut along rows: values of all channels at one place (channels-last), or whole images
  // (else).
  int64_t rows_per_image() const { return channels_last ? spatial : 1; }
  int64_t num_rows() const { return n * rows_per_image(); }
};

// The operands below are those of group 0; of_group() gives another group's, whose rows are the
// kernels' own business.

// Per channel: x * scale + offset is the normalised value.
struct Affine {
  const float* scale;
  const float* offset;
  constexpr Affine of_group(int64_t g, int64_t stride) const {
    return {scale + g * stride, offset + g * stride};
  }
};

// y = x * scale + offset (+ residual, unless null) (then relu)
struct ForwardMap {
  const void* x;
  const void* residual;
  bool relu;
  Affine affine;
  void* y;
  constexpr ForwardMap of_group(int64_t g, int64_t stride) const {
    return {x, residual, relu, affine.of_group(g, stride), y};
  }
};

// The gradient g of the sum that forward's ReLU took: dy where that was open, which is where y > 0;
// without relu all of dy. `y` may be null: it is then recomputed as x * scale + offset.
struct GradientInput {
  const void *x, *dy, *y;
  bool relu;
  Affine affine;
  constexpr GradientInput of_group(int64_t g, int64_t stride) const {
    return {x, dy, y, relu, affine.of_group(g, stride)};
  }
};

// What is summed over g: Σ g and Σ g (x - mean[c]). g is written to `masked`, which is null where
// in.y is, and only there.
struct GradientTerms {
  GradientInput in;
  const float* mean;
  void* masked;
  constexpr GradientTerms of_group(int64_t g, int64_t stride) const {
    return {in.of_group(g, stride), mean + g * stride, masked};
  }
};

// dx = slopes[c] g + slopes[stride + c] x + slopes[2 * stride + c], stride being group_stride;
// in.y is null.
struct BackwardMap {
  GradientInput in;
  const float* slopes;
  void* dx;
  constexpr BackwardMap of_group(int64_t g, int64_t stride) const {
    return {in.of_group(g, stride), slopes + 3 * g * stride, dx};
  }
};

}  // namespace lockstep::kernels
