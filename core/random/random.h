// Counter-based random numbers: a value is a function of its key and counter, never of who asks,
// when, or how often. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011). constexpr, so that CUDA kernels call it too, and C++17, as they are.
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

// What a stream of numbers is for: part of the key, so that streams never overlap.
enum class RandomUse : uint32_t {
  kInitialisation = 1,
  kSplit,
  kPermutation,
  kAugmentation,
  kDropout,
  kSynthetic,
  kMixing,
  kStochasticDepth
};

struct Philox {
  std::array<uint32_t, 2> key;

  constexpr Philox(uint64_t seed, RandomUse use)
      : key{static_cast<uint32_t>(seed) ^ (static_cast<uint32_t>(use) * 0x9E3779B9u),
            static_cast<uint32_t>(seed >> 32)} {}

  // Four independent 32-bit values at a 128-bit counter.
  constexpr std::array<uint32_t, 4> operator()(uint32_t c0,
                                               uint32_t c1 = 0,
                                               uint32_t c2 = 0,
                                               uint32_t c3 = 0) const {
    std::array<uint32_t, 4> c{c0, c1, c2, c3};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c[0];
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * c[2];
      c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0,
           static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1,
           static_cast<uint32_t>(p0)};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return c;
  }
};

// A 32-bit value mapped to [0, bound) (Lemire's multiply-shift; the bias of at most bound / 2^32
// does not matter here).
constexpr uint32_t bounded(uint32_t value, uint32_t bound) {
  return static_cast<uint32_t>((uint64_t{value} * bound) >> 32);
}

}  // namespace lockstep
