// Bytes to normalised numbers: one table lookup a value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

// (v / 255 - mean) / std of each byte v and channel, computed in float and rounded once to Value
// (float or c10::BFloat16).
template <typename Value>
class ByteNormaliser {
 public:
  // mean, std: per channel, in [0, 1]. Throws Error(kBadData) for a std that is not positive.
  ByteNormaliser(std::span<const float> mean, std::span<const float> std);
  // images [n, C, height * width] to the same layout, or to [n, height * width, C] (channels last).
  void normalise(
      const uint8_t* images, int64_t n, int64_t plane_size, bool channels_last, Value* out) const;
  // [C, 256]
  const std::vector<Value>& table() const { return table_; }

 private:
  void normalise_planes(const uint8_t* image, int64_t plane_size, Value* out) const;
  void interleave_planes(const uint8_t* image, int64_t plane_size, Value* out) const;

  int64_t channels_;
  std::vector<Value> table_;
};

}  // namespace lockstep
