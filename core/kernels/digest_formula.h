// A digest of memory, for the host and CUDA alike: plain memory, no LibTorch, C++17.
#pragma once

#include <cstdint>

namespace lockstep::kernels {

// What the 32-bit word at `index` (below 2^32) adds to the digest, modulo 2^64. Different words at
// one place always add different numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
// is a bijection. Sums have no order, so that any number of threads may share the work.
constexpr uint64_t digest_term(uint32_t word, uint64_t index) {
  uint64_t x = (index << 32 | word) + 0x9E3779B97F4A7C15;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

}  // namespace lockstep::kernels
