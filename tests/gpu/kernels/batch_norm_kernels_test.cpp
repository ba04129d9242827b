// The CUDA kernels of fused batch normalisation, emulated, against the same formulas in float64
// (Ioffe and Szegedy 2015, algorithm 1; its gradient as in torch.nn.BatchNorm2d), group by group.
// Every case runs in two orders of threads and blocks, and as the launches that leave room for an
// exchange between ranks; all must give the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/batch_norm_case.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

using Case = BatchNormKernelCase;
using Inputs = BatchNormInputs;
using Outputs = BatchNormOutputs;
namespace device = kernels::cuda;

constexpr double kEpsilon = 1e-5;

enum class Launches { kFused, kWithRoomForAnExchange };

// The order of calls of batch_norm_train.cpp.
void run(const Case& c, Launches launches, const Inputs& in, const Outputs& out) {
  const bool fused = launches == Launches::kFused;
  const kernels::Activation shape = c.shape();
  const device::WorkspaceSize size = device::workspace_size(shape);
  const GuardedMemory<float> partial_sums(static_cast<size_t>(size.partial_sums));
  const GuardedMemory<unsigned> tickets(static_cast<size_t>(size.tickets));
  std::fill_n(tickets.data(), tickets.size(), 0U);
  const device::Workspace workspace{partial_sums.data(), tickets.data()};

  const kernels::CoefficientsOfMoments coefficients{.groups = c.groups,
                                                    .channels = c.channels,
                                                    .moments = out.moments.data(),
                                                    .weight = in.weight.data(),
                                                    .bias = in.bias.data(),
                                                    .epsilon = kEpsilon,
                                                    .mean = out.mean.data(),
                                                    .inverse_deviation = out.inverse.data(),
                                                    .unbiased_variance = out.unbiased.data(),
                                                    .scale = out.scale.data(),
                                                    .offset = out.offset.data(),
                                                    .has_variance = out.has_variance.data()};
  const kernels::StatisticsContribution contribution{
      out.mean_sum.data(), out.variance_sum.data(), out.images.data(), out.images.data() + 1};
  if (fused) {
    device::statistics(shape, in.x.data(), coefficients, &contribution, workspace, nullptr);
  } else {
    device::moments(shape, in.x.data(), coefficients, workspace, nullptr);
    device::coefficients(coefficients, &contribution, nullptr);
  }
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
  const kernels::GradientTerms terms{
      .in = gradient, .mean = out.mean.data(), .masked = keep_y ? out.masked.data() : nullptr};
  const kernels::GradientsOfSums gradients{.groups = c.groups.count,
                                           .stride = c.channels,
                                           .sums = out.sums.data(),
                                           .counts = out.moments.data() + 2 * c.channels,
                                           .weight = in.weight.data(),
                                           .mean = out.mean.data(),
                                           .inverse_deviation = out.inverse.data(),
                                           .slopes = out.slopes.data(),
                                           .dweight = out.dweight.data(),
                                           .dbias = out.dbias.data()};
  if (fused) {
    device::gradients(shape, terms, gradients, workspace, nullptr);
  } else {
    device::gradient_sums(shape, terms, gradients, workspace, nullptr);
    device::slopes(gradients, nullptr);
  }
  if (keep_y)
    gradient = {
        .x = in.x.data(), .dy = out.masked.data(), .y = nullptr, .relu = false, .affine = affine};
  device::input_gradient(
      shape, {.in = gradient, .slopes = out.slopes.data(), .dx = out.dx.data()}, nullptr);
  for (size_t i = 0; i < tickets.size(); ++i) EXPECT_EQ(tickets[i], 0U) << "ticket " << i;
}

// The statistics of x in float64.
struct Statistics {
  Statistics(const Case& c, const Numbers& x) : mean(c.slots()), variance(c.slots()) {
    for (size_t i = 0; i < c.size(); ++i) mean[c.slot_of(i)] += x[i] / c.count(c.slot_of(i));
    for (size_t i = 0; i < c.size(); ++i) {
      const size_t k = c.slot_of(i);
      variance[k] += std::pow(x[i] - mean[k], 2) / c.count(k);
    }
  }
  std::vector<double> mean, variance;
};

void expect_statistics(const Case& c, const Inputs& in, const Outputs& out) {
  const Statistics truth(c, in.x);
  for (size_t k = 0; k < c.slots(); ++k) {
    const double variance = truth.variance[k], mean = truth.mean[k], count = c.count(k);
    const size_t group = c.group_of_slot(k);
    EXPECT_EQ(out.moments[(group + 1) * static_cast<size_t>(2 * c.channels + 1) - 1], count);
    EXPECT_EQ(out.has_variance[group], count > 1 ? 1.0f : 0.0f);
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

// What a layer with these statistics adds to its running ones.
void expect_contribution(const Case& c, const Outputs& out) {
  const auto channels = static_cast<size_t>(c.channels);
  std::vector<double> mean(channels), variance(channels), mean_size(channels);
  double with_variance = 0;
  for (size_t k = 0; k < c.slots(); ++k) {
    const auto images =
        static_cast<double>(c.groups.size(static_cast<int64_t>(c.group_of_slot(k))));
    mean[c.channel_of_slot(k)] += images * out.mean[k];
    mean_size[c.channel_of_slot(k)] += images * std::fabs(out.mean[k]);
    variance[c.channel_of_slot(k)] += images * out.unbiased[k];
    if (c.channel_of_slot(k) == 0 && c.count(k) > 1) with_variance += images;
  }
  for (size_t k = 0; k < channels; ++k) {
    EXPECT_NEAR(out.mean_sum[k], 0.5 + mean[k], 1e-6 * (1 + mean_size[k]));
    EXPECT_NEAR(out.variance_sum[k], 0.5 + variance[k], 1e-6 * (1 + variance[k]));
  }
  EXPECT_EQ(out.images[0], static_cast<float>(3 + c.n()));
  EXPECT_EQ(out.images[1], static_cast<float>(3 + with_variance));
}

void expect_y(const Case& c, const Inputs& in, const Outputs& out) {
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.slot_of(i);
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
    const size_t k = c.slot_of(i);
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
  const size_t slots = c.slots(), channels = static_cast<size_t>(c.channels);
  std::vector<double> first(slots), second(slots), first_size(slots), second_size(slots);
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.slot_of(i);
    const double term = g[i] * (in.x[i] - out.mean[k]);
    first[k] += g[i];
    first_size[k] += std::fabs(g[i]);
    second[k] += term;
    second_size[k] += std::fabs(term);
  }
  const auto sum_of = [&](size_t slot, size_t which) {
    return out.sums[(2 * c.group_of_slot(slot) + which) * channels + c.channel_of_slot(slot)];
  };
  std::vector<double> dweight(channels), dbias(channels), dweight_size(channels),
      dbias_size(channels);
  for (size_t k = 0; k < slots; ++k) {
    EXPECT_NEAR(sum_of(k, 0), first[k], 2e-6 * first_size[k] + 1e-12);
    EXPECT_NEAR(sum_of(k, 1), second[k], 3e-6 * second_size[k] + 1e-10);
    const size_t channel = c.channel_of_slot(k);
    dbias[channel] += first[k];
    dbias_size[channel] += first_size[k];
    dweight[channel] += second[k] * out.inverse[k];
    dweight_size[channel] += second_size[k] * out.inverse[k];
  }
  for (size_t k = 0; k < channels; ++k) {
    EXPECT_NEAR(out.dbias[k], dbias[k], 3e-6 * dbias_size[k] + 1e-10);
    EXPECT_NEAR(out.dweight[k], dweight[k], 4e-6 * dweight_size[k] + 1e-8);
  }
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t k = c.slot_of(i);
    const double count = std::max(1.0, c.count(k));
    const double inverse = out.inverse[k], factor = in.weight[c.channel_of(i)] * inverse;
    const double of_mean = sum_of(k, 0) / count;
    const double of_deviation = sum_of(k, 1) / count * inverse * inverse;
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
  EXPECT_TRUE(same_bits(a.slopes, b.slopes)) << c;
  EXPECT_TRUE(same_bits(a.dweight, b.dweight) && same_bits(a.dbias, b.dbias)) << c;
  EXPECT_TRUE(a.y.same_bits(b.y) && a.dx.same_bits(b.dx)) << c;
}

void expect_right(const Case& c) {
  SCOPED_TRACE(testing::Message() << c);
  const Inputs in(c);
  const Outputs out(c), again(c), apart(c);
  emulator::set_seed(1);
  run(c, Launches::kFused, in, out);
  emulator::set_seed(2);
  run(c, Launches::kFused, in, again);
  run(c, Launches::kWithRoomForAnExchange, in, apart);
  expect_statistics(c, in, out);
  expect_contribution(c, out);
  expect_contribution(c, apart);
  expect_y(c, in, out);
  expect_gradients(c, in, out);
  expect_same_bits(c, out, again);
  expect_same_bits(c, out, apart);
}

// Some of the groups into which a batch of so many images is cut; every second time the whole.
ImageGroups groups_of(int64_t images, uint64_t bits) {
  if (images == 0 || bits % 2 == 0) return {.images = images};
  const auto of = 1 + static_cast<int64_t>(bits >> 1) % images;
  const auto first = static_cast<int64_t>(bits >> 12) % of;
  return {.images = images,
          .of = of,
          .first = first,
          .count = 1 + static_cast<int64_t>(bits >> 24) % (of - first)};
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
    Case c{.groups = groups_of(pick(kImages), random() >> 8),
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
    const bool too_many_blocks = !c.channels_last && c.n() * c.channels > 500;
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
        expect_right({{.images = 4}, channels, spatial, true, bf16, true, residual, 0, 1.0});
    }
  }
}

}  // namespace
}  // namespace lockstep::test
