// The convolutions of a model as a training on a GPU runs them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::engines {

// [n, in_channels, height, width] -> [n, out_channels, …], bfloat16, channels-last, without groups.
struct Convolution {
  std::string name;
  int64_t in_channels, height, width, out_channels;
  std::vector<int64_t> kernel, stride, padding;  // two each: down, across
  int64_t weight_alignment;                      // bytes that the weight's address divides by

  bool same_work(const Convolution& other) const {
    return in_channels == other.in_channels && height == other.height && width == other.width &&
           out_channels == other.out_channels && kernel == other.kernel && stride == other.stride &&
           padding == other.padding && weight_alignment == other.weight_alignment;
  }
};

// All that a forward pass of `model` (of `lockstep models`) over 32-pixel RGB images runs, its
// weights laid out as the trainer does it for bf16.
std::vector<Convolution> convolutions_of(const std::string& model);

}  // namespace lockstep::engines
