// A random mask as a set of independent draws of four elements, for the host and CUDA kernels
// alike: plain memory, no LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lockstep/core/random/random.h"

namespace lockstep {

// What the mask `random_mask` makes ([samples, elements], row-major) is a function of. Its methods
// write into such a mask, each element either 0 or `one`, of whatever type T stands for.
struct MaskDraws {
  static constexpr int64_t kWidth = 4;  // elements of a draw: the words of one Philox call

  Philox random;
  uint64_t threshold;       // words below it drop; up to 2^32, which drops every word
  uint32_t first_position;  // of sample 0 in the global batch
  uint32_t step, layer;
  int64_t samples, elements;

  // The last draw of a sample may be cut short: no draw straddles two samples, since those may lie
  // on different ranks.
  constexpr int64_t draws_per_sample() const { return (elements + kWidth - 1) / kWidth; }
  constexpr int64_t num_draws() const { return samples * draws_per_sample(); }

  // Draw `draw` (below draws_per_sample()) of a sample.
  template <typename T>
  constexpr void write(int64_t sample, int64_t draw, T one, T* mask) const {
    const auto words = random(
        static_cast<uint32_t>(draw), first_position + static_cast<uint32_t>(sample), step, layer);
    const int64_t first = draw * kWidth;
    T* out = mask + sample * elements + first;
    // A fixed count with a test in it, not a shorter count: so unrolled, the words stay in
    // registers.
    for (int64_t i = 0; i < kWidth; ++i) {
      if (first + i < elements) out[i] = words[static_cast<size_t>(i)] >= threshold ? one : T{0};
    }
  }

  // The share of thread `thread` of `num_threads`: every num_threads-th draw of the whole mask.
  // Neighbouring threads write neighbouring elements.
  template <typename T>
  constexpr void write_share(int64_t thread, int64_t num_threads, T one, T* mask) const {
    const int64_t per_sample = draws_per_sample();
    for (int64_t i = thread; i < num_draws(); i += num_threads) {
      write(i / per_sample, i % per_sample, one, mask);
    }
  }
};

}  // namespace lockstep
