// The CUDA kernels of fused batch normalisation, emulated, against the same formulas in float64
// (Ioffe and Szegedy 2015, algorithm 1; its gradient as in torch.nn.BatchNorm2d). Every case runs
// in two orders of threads and blocks, which must give the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

namespace device = kernels::cuda;

struct Case {
  int64_t n, channels, spatial;
  bool channels_last, bf16, relu, residual;
  size_t shift;  // of x and dx, in elements, from 16 bytes
  double mean;   // typical size of the channels' means

  size_t size() const { return static_cast<size_t>(n * channels * spatial); }
  size_t channel_of(size_t i) const {
    const auto c = static_cast<size_t>(channels), s = static_cast<size_t>(spatial);
    return channels_last ? i % c : i / s % c;
  }
  kernels::Activation shape() const {
    return {.n = n,
            .channels = channels,
            .spatial = spatial,
            .channels_last = channels_last,
            .bf16 = bf16,
            .x_stride = channels,
            .y_stride = channels};
  }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.n << " x " << c.channels << " x " << c.spatial
             << (c.channels_last ? " channels-last" : "") << (c.bf16 ? " bf16" : " fp32")
             << (c.relu ? " relu" : "") << (c.residual ? " residual" : "") << " shift " << c.shift
             << " mean " << c.mean;
}

// What the kernels are given.
struct Inputs {
  explicit Inputs(const Case& c)
      : x(c.bf16, c.size(), c.shift),
        dy(c.bf16, c.size(), 0),
        residual(c.bf16, c.size(), 0),
        weight(static_cast<size_t>(c.channels)),
        bias(static_cast<size_t>(c.channels)) {
    std::mt19937_64 random(c.size());
    std::normal_distribution<double> normal;
    std::vector<double> means(static_cast<size_t>(c.channels));
    for (double& mean : means) mean = c.mean * normal(random);
    for (size_t i = 0; i < c.size(); ++i) {
      x.set(i, means[c.channel_of(i)] + normal(random));
      dy.set(i, normal(random));
      residual.set(i, normal(random));
    }
    for (size_t k = 0; k < weight.size(); ++k) {
      weight[k] = static_cast<float>(0.5 + std::fabs(normal(random)));
      bias[k] = static_cast<float>(normal(random));
    }
  }
  Numbers x, dy, residual;
  GuardedMemory<float> weight, bias;
};

// What they make of it, forward and backward.
struct Outputs {
  explicit Outputs(const Case& c)
      : moments(static_cast<size_t>(2 * c.channels + 1)),
        sums(static_cast<size_t>(2 * c.channels)),
        mean(static_cast<size_t>(c.channels)),
        inverse(mean.size()),
        unbiased(mean.size()),
        scale(mean.size()),
        offset(mean.size()),
        has_variance(1),
        y(c.bf16, c.size(), 0),
        dx(c.bf16, c.size(), c.shift),
        masked(c.bf16, c.size(), 0) {}
  GuardedMemory<double> moments, sums;
  GuardedMemory<float> mean, inverse, unbiased, scale, offset, has_variance;
  Numbers y, dx, masked;
};

constexpr double kEpsilon = 1e-5;

// The order of calls of batch_norm_train.cpp.
void run(const Case& c, const Inputs& in, const Outputs& out) {
  const kernels::Activation shape = c.shape();
  const GuardedMemory<float> scratch(static_cast<size_t>(device::scratch_floats(shape)));
  device::moments(shape, in.x.data(), scratch.data(), out.moments.data(), nullptr);
  device::coefficients({.channels = c.channels,
                        .moments = out.moments.data(),
                        .weight = in.weight.data(),
                        .bias = in.bias.data(),
                        .epsilon = kEpsilon,
                        .mean = out.mean.data(),
                        .inverse_deviation = out.inverse.data(),
                        .unbiased_variance = out.unbiased.data(),
                        .scale = out.scale.data(),
                        .offset = out.offset.data(),
                        .has_variance = out.has_variance.data()},
                       nullptr);
  const kernels::Affine affine{out.scale.data(), out.offset.data()};
  device::apply(shape,
                {.x = in.x.data(),
                 .residual = c.residual ? in.residual.data() : nullptr,
                 .relu = c.relu,
                 .affine = affine,
                 .y = out.y.data()},
                nullptr);

  const bool keep_y = c.relu && c.residual;
  kernels::GradientInput gradient{.x = in.x.data(),
                                  .dy = in.dy.data(),
                                  .y = keep_y ? out.y.data() : nullptr,
                                  .relu = c.relu,
                                  .affine = affine};
  device::gradient_sums(
      shape,
      {.in = gradient, .mean = out.mean.data(), .masked = keep_y ? out.masked.data() : nullptr},
      scratch.data(),
      out.sums.data(),
      nullptr);
  const GuardedMemory<float> slopes(static_cast<size_t>(3 * c.channels));
  device::slopes({.channels = c.channels,
                  .sums = out.sums.data(),
                  .count = out.moments.data() + 2 * c.channels,
                  .weight = in.weight.data(),
                  .mean = out.mean.data(),
                  .inverse_deviation = out.inverse.data(),
                  .slopes = slopes.data()},
                 nullptr);
  if (keep_y)
    gradient = {
        .x = in.x.data(), .dy = out.masked.data(), .y = nullptr, .relu = false, .affine = affine};
  device::input_gradient(
      shape, {.in = gradient, .slopes = slopes.data(), .dx = out.dx.data()}, nullptr);
}

// The statistics of x in float64.
struct Statistics {
  Statistics(const Case& c, const Numbers& x)
      : mean(static_cast<size_t>(c.channels)), variance(mean.size()) {
    const double count = static_cast<double>(c.n * c.spatial);
    for (size_t i = 0; i < c.size(); ++i) mean[c.channel_of(i)] += x[i] / count;
    for (size_t i = 0; i < c.size(); ++i)
      variance[c.channel_of(i)] += std::pow(x[i] - mean[c.channel_of(i)], 2) / count;
  }
  std::vector<double> mean, variance;
};

void expect_statistics(const Case& c, const Inputs& in, const Outputs& out) {
  const double count = static_cast<double>(c.n * c.spatial);
  const Statistics truth(c, in.x);
  EXPECT_EQ(out.moments[static_cast<size_t>(2 * c.channels)], count);
  EXPECT_EQ(out.has_variance[0], count > 1 ? 1.0f : 0.0f);
  for (size_t k = 0; k < truth.mean.size(); ++k) {
    const double variance = truth.variance[k], mean = truth.mean[k];
    const double deviation = std::sqrt(variance + kEpsilon);
    // Sums of float32 about a shift: one part in a million of the deviation, and the rounding of a
    // large mean.
    EXPECT_NEAR(out.mean[k], mean, 3e-6 * deviation + 1e-7 * std::fabs(mean));
    const double cancelled = 1e-13 * mean * mean / (variance + kEpsilon);  // of Σx² in float64
    EXPECT_NEAR(out.inverse[k] * deviation, 1.0, 1e-4 + cancelled);
    const double unbiased = count > 1 ? variance * count / (count - 1) : 0;
    EXPECT_NEAR(out.unbiased[k], unbiased, 1e-4 * unbiased + 1e-6 + 1e-13 * mean * mean);
  }
}

void expect_y(const Case& c, const Inputs& in, const Outputs& out) {
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.channel_of(i);
    const double product = in.x[i] * out.scale[k];
    double y = product + out.offset[k] + (c.residual ? in.residual[i] : 0.0);
    if (c.relu) y = std::max(y, 0.0);
    const double float_rounding =
        4 * spacing(false, std::fabs(product) + std::fabs(out.offset[k]) + 1);
    EXPECT_NEAR(out.y[i], y, 0.51 * spacing(c.bf16, y) + float_rounding) << "y at " << i;
  }
}

// dy where the ReLU was open.
std::vector<double> masked_gradient(const Case& c, const Inputs& in, const Outputs& out) {
  std::vector<double> g(c.size());
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.channel_of(i);
    const float recomputed = std::fma(static_cast<float>(in.x[i]), out.scale[k], out.offset[k]);
    const bool open = !c.relu || (c.residual ? out.y[i] > 0 : recomputed > 0.0f);
    g[i] = open ? in.dy[i] : 0.0;
    if (c.relu && c.residual) {
      EXPECT_EQ(out.masked[i], g[i]) << "masked gradient at " << i;
    }
  }
  return g;
}

void expect_gradients(const Case& c, const Inputs& in, const Outputs& out) {
  const std::vector<double> g = masked_gradient(c, in, out);
  const auto channels = static_cast<size_t>(c.channels);
  std::vector<double> first(channels), second(channels), first_size(channels),
      second_size(channels);
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.channel_of(i);
    const double term = g[i] * (in.x[i] - out.mean[k]);
    first[k] += g[i];
    first_size[k] += std::fabs(g[i]);
    second[k] += term;
    second_size[k] += std::fabs(term);
  }
  for (size_t k = 0; k < channels; ++k) {
    EXPECT_NEAR(out.sums[k], first[k], 2e-6 * first_size[k] + 1e-12);
    EXPECT_NEAR(out.sums[channels + k], second[k], 3e-6 * second_size[k] + 1e-10);
  }
  const double count = std::max(1.0, static_cast<double>(c.n * c.spatial));
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.channel_of(i);
    const double inverse = out.inverse[k], factor = in.weight[k] * inverse;
    const double of_mean = out.sums[k] / count;
    const double of_deviation = out.sums[channels + k] / count * inverse * inverse;
    const double dx = factor * (g[i] - of_mean - (in.x[i] - out.mean[k]) * of_deviation);
    const double size =
        factor * (std::fabs(g[i]) + std::fabs(of_mean) +
                  (std::fabs(in.x[i]) + std::fabs(out.mean[k])) * std::fabs(of_deviation));
    EXPECT_NEAR(out.dx[i], dx, 0.51 * spacing(c.bf16, dx) + 8 * spacing(false, size))
        << "dx at " << i;
  }
}

template <typename T>
bool same_bits(const GuardedMemory<T>& a, const GuardedMemory<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

void expect_same_bits(const Case& c, const Outputs& a, const Outputs& b) {
  EXPECT_TRUE(same_bits(a.moments, b.moments) && same_bits(a.sums, b.sums)) << c;
  EXPECT_TRUE(same_bits(a.scale, b.scale) && same_bits(a.offset, b.offset)) << c;
  EXPECT_TRUE(a.y.same_bits(b.y) && a.dx.same_bits(b.dx)) << c;
}

void expect_right(const Case& c) {
  SCOPED_TRACE(testing::Message() << c);
  const Inputs in(c);
  const Outputs out(c), again(c);
  emulator::set_seed(1);
  run(c, in, out);
  emulator::set_seed(2);
  run(c, in, again);
  expect_statistics(c, in, out);
  expect_y(c, in, out);
  expect_gradients(c, in, out);
  expect_same_bits(c, out, again);
}

// Shapes drawn from all corners: channels that fill packs, lanes and blocks, and that do not; rows
// of channels and whole planes; no image at all.
std::vector<Case> cases(size_t most, size_t most_elements) {
  constexpr int64_t kChannels[] = {1,   2,    3,    4,    5,    7,    8,    9,    12,  15,
                                   16,  17,   24,   31,   32,   33,   40,   63,   64,  65,
                                   96,  100,  128,  144,  200,  255,  256,  257,  264, 512,
                                   520, 1000, 1024, 1028, 2040, 2047, 2048, 2056, 4104};
  constexpr int64_t kSpatial[] = {1,  2,  3,  4,   5,   7,   8,   9,   16,  25,  31,
                                  49, 64, 99, 100, 255, 256, 257, 300, 576, 1024};
  constexpr int64_t kImages[] = {0, 1, 2, 3, 5, 8, 33, 128, 513};
  std::mt19937_64 random(3);
  const auto pick = [&](const auto& values) { return values[random() % std::size(values)]; };
  std::vector<Case> found;
  while (found.size() < most) {
    const uint64_t bits = random();
    const bool bf16 = (bits & 1) != 0;
    Case c{.n = pick(kImages),
           .channels = pick(kChannels),
           .spatial = pick(kSpatial),
           .channels_last = (bits & 2) != 0,
           .bf16 = bf16,
           .relu = (bits & 4) != 0,
           .residual = (bits & 8) != 0,
           .shift = (bits >> 4) % 3 == 0 ? 1 + (bits >> 8) % (bf16 ? 7 : 3) : 0,
           .mean = (bits >> 16) % 5 == 0 ? (bf16 ? 30.0 : 1000.0) : 3.0};
    c.channels_last = c.channels_last || c.spatial == 1;
    // Channels-first kernels have a block of 256 threads for every channel and image.
    const bool too_many_blocks = !c.channels_last && c.n * c.channels > 500;
    if (c.size() <= most_elements && !too_many_blocks) found.push_back(c);
  }
  return found;
}

TEST(BatchNormKernels, EqualTheFormulasForAnyShape) {
  const char* wanted = std::getenv("LOCKSTEP_KERNEL_CASES");
  const size_t number = wanted ? std::stoul(wanted) : 100;
  for (const Case& c : cases(number, 20000)) expect_right(c);
}

// The shapes of ResNet-20's norms, in channels-last as it trains.
TEST(BatchNormKernels, EqualTheFormulasForTheShapesOfResNet20) {
  for (const bool bf16 : {false, true}) {
    for (const bool residual : {false, true}) {
      for (const auto& [channels, spatial] : {std::pair{16, 1024}, {32, 256}, {64, 64}})
        expect_right({4, channels, spatial, true, bf16, true, residual, 0, 1.0});
    }
  }
}

}  // namespace
}  // namespace lockstep::test
