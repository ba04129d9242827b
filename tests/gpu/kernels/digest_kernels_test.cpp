// The CUDA kernel of digests, emulated, against sums of SplitMix64 written out here.
#include <gtest/gtest.h>

#include <random>

#include "lockstep/core/kernels/digest_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/guarded_memory.h"

namespace lockstep::test {
namespace {

// Vigna's splitmix64.c: what a generator whose state is `x` returns next.
uint64_t splitmix64(uint64_t x) {
  uint64_t z = x + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

TEST(DigestKernels, AreSumsOverTheWordsAndTheirPlaces) {
  std::mt19937 random(1);
  for (const size_t count : {0, 1, 2, 255, 256, 257, 4095, 4097, 70001}) {
    const GuardedMemory<uint32_t> words(count, count % 3);
    for (size_t i = 0; i < count; ++i) words[i] = random();
    const GuardedMemory<uint64_t> digest(1);
    uint64_t expected = digest[0] = 77;
    for (size_t i = 0; i < count; ++i) expected += splitmix64(uint64_t{i} << 32 | words[i]);
    emulator::set_seed(count);
    kernels::cuda::add_digest(words.data(), static_cast<int64_t>(count), digest.data(), nullptr);
    EXPECT_EQ(digest[0], expected) << count;
  }
}

}  // namespace
}  // namespace lockstep::test
