// Float32 or bfloat16 values in guarded memory, as kernels see an activation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

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
      : bf16_(bf16), count_(count), bytes_(count * (bf16 ? 2 : 4)) {
    if (bf16) {
      half_ = std::make_unique<GuardedMemory<uint16_t>>(count, shift);
    } else {
      single_ = std::make_unique<GuardedMemory<float>>(count, shift);
    }
  }
  void* data() const {
    return bf16_ ? static_cast<void*>(half_->data()) : static_cast<void*>(single_->data());
  }
  size_t size() const { return count_; }
  double operator[](size_t i) const {
    return bf16_ ? static_cast<double>(bf16_to_float((*half_)[i]))
                 : static_cast<double>((*single_)[i]);
  }
  void set(size_t i, double value) {
    if (bf16_) {
      (*half_)[i] = bf16_from_float(static_cast<float>(value));
    } else {
      (*single_)[i] = static_cast<float>(value);
    }
  }
  bool same_bits(const Numbers& other) const {
    return std::memcmp(data(), other.data(), bytes_) == 0;
  }

 private:
  bool bf16_;
  size_t count_, bytes_;
  std::unique_ptr<GuardedMemory<uint16_t>> half_;
  std::unique_ptr<GuardedMemory<float>> single_;
};

// The distance between neighbouring numbers of the type at `value`.
inline double spacing(bool bf16, double value) {
  return std::ldexp(std::max(std::fabs(value), 1e-30), bf16 ? -7 : -23);
}

}  // namespace lockstep::test
