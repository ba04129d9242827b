// Float32 or bfloat16 values in guarded memory, as kernels see an activation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/gpu/kernels/guarded_memory.h"

namespace lockstep::test {

inline float bf16_to_float(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// To the nearest, to the even one of two (IEEE 754); no NaN.
inline uint16_t bf16_from_float(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

class Numbers {
 public:
  Numbers(bool bf16, size_t count, size_t shift)
      : bf16_(bf16), memory_(count * width(), shift * width()) {}
  void* data() const { return memory_.data(); }
  double operator[](size_t i) const {
    return bf16_ ? bf16_to_float(*place<uint16_t>(i)) : *place<float>(i);
  }
  void set(size_t i, double value) {
    const auto single = static_cast<float>(value);
    if (bf16_) {
      *place<uint16_t>(i) = bf16_from_float(single);
    } else {
      *place<float>(i) = single;
    }
  }
  bool same_bits(const Numbers& other) const {
    return std::memcmp(data(), other.data(), memory_.size()) == 0;
  }

 private:
  size_t width() const { return bf16_ ? 2 : 4; }
  template <typename T>
  T* place(size_t i) const {
    return static_cast<T*>(data()) + i;
  }

  bool bf16_;
  GuardedMemory<std::byte> memory_;
};

// The distance between neighbouring numbers of the type at `value`.
inline double spacing(bool bf16, double value) {
  return std::ldexp(std::max(std::fabs(value), 1e-30), bf16 ? -7 : -23);
}

}  // namespace lockstep::test
