// The CUDA kernels of max pooling, emulated, against the CPU's, which equal ATen's
// (tests/core/nn/max_pool_test.cpp): bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "lockstep/core/kernels/max_pool_kernels.h"
#include "lockstep/core/kernels/max_pool_kernels_cuda.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

using kernels::MaxPoolShape;

int64_t windows(int64_t extent, const MaxPoolShape& shape) {
  return (extent + 2 * shape.padding - shape.size) / shape.stride + 1;
}

void expect_the_cpus(MaxPoolShape shape, int64_t n, bool with_base, size_t shift) {
  shape.out_height = windows(shape.in_height, shape);
  shape.out_width = windows(shape.in_width, shape);
  const auto in = static_cast<size_t>(n * shape.in_height * shape.in_width * shape.channels);
  const auto out = static_cast<size_t>(n * shape.out_height * shape.out_width * shape.channels);
  std::mt19937 random(static_cast<uint32_t>(in + out));
  // Few different numbers, so that many are equal, and here and there none.
  const auto fill = [&](Numbers& numbers, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const double value = static_cast<double>(random() % 7) - 3;
      numbers.set(i, random() % 50 == 0 ? std::numeric_limits<double>::infinity() : value);
    }
  };
  Numbers x(shape.bf16, in, shift), dy(shape.bf16, out, shift), base(shape.bf16, in, shift);
  fill(x, in);
  fill(dy, out);
  fill(base, in);
  const Numbers y(shape.bf16, out, shift), expected_y(shape.bf16, out, shift);
  const GuardedMemory<uint8_t> taps(out), expected_taps(out);
  kernels::cuda::max_pool(shape, n, x.data(), y.data(), taps.data(), nullptr);
  const kernels::MaxPoolKernels& cpus = kernels::max_pool_kernels_portable();
  cpus.forward(shape, x.data(), expected_y.data(), expected_taps.data(), 0, n * shape.out_height);
  EXPECT_TRUE(y.same_bits(expected_y));
  EXPECT_EQ(std::memcmp(taps.data(), expected_taps.data(), out), 0);

  const void* under = with_base ? base.data() : nullptr;
  const Numbers dx(shape.bf16, in, shift), expected_dx(shape.bf16, in, shift);
  kernels::cuda::max_pool_gradient(shape, n, dy.data(), taps.data(), under, dx.data(), nullptr);
  cpus.backward(shape, dy.data(), taps.data(), under, expected_dx.data(), 0, n * shape.in_height);
  EXPECT_TRUE(dx.same_bits(expected_dx));
}

TEST(MaxPoolKernels, EqualTheCpus) {
  for (const auto& [size, stride, padding] :
       std::vector<std::array<int64_t, 3>>{{2, 2, 0}, {3, 3, 0}, {3, 2, 1}, {3, 1, 1}, {5, 2, 2}}) {
    for (const int64_t channels : {1, 8, 12, 40}) {
      for (const int64_t side : {5, 8}) {
        for (const bool bf16 : {false, true}) {
          for (const size_t shift : {0, 1}) {
            SCOPED_TRACE(testing::Message()
                         << size << ' ' << stride << ' ' << padding << ", " << channels
                         << " channels, side " << side << ", bf16 " << bf16 << ", shift " << shift);
            expect_the_cpus({.channels = channels,
                             .in_height = side,
                             .in_width = side + 1,
                             .size = size,
                             .stride = stride,
                             .padding = padding,
                             .bf16 = bf16},
                            3,
                            channels % 8 == 0,
                            shift);
          }
        }
      }
    }
  }
}

TEST(MaxPoolKernels, OfNoImagesDoNothing) {
  const MaxPoolShape shape{.channels = 8, .in_height = 4, .in_width = 4, .size = 2, .stride = 2};
  kernels::cuda::max_pool(shape, 0, nullptr, nullptr, nullptr, nullptr);
  kernels::cuda::max_pool_gradient(shape, 0, nullptr, nullptr, nullptr, nullptr, nullptr);
}

}  // namespace
}  // namespace lockstep::test
