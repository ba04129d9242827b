// The CUDA kernels of an update, emulated, against the same rules in float64 (torch.optim.SGD;
// Loshchilov and Hutter 2019, algorithm 2).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "lockstep/core/kernels/update_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

namespace device = kernels::cuda;
using device::UpdateRun;

constexpr double kDecay = 0.05, kDivisor = 96;

// Flat memory of an update; what rules keep is called first and second.
struct Flat {
  explicit Flat(size_t runs_in)
      : runs(runs_in),
        master(runs_in * device::kRunLength),
        gradient(master.size()),
        first(master.size()),
        second(master.size()),
        shadow(master.size()) {
    std::mt19937_64 random(runs_in);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < runs.size(); ++i) runs[i] = static_cast<UpdateRun>(random() % 3);
    for (size_t i = 0; i < master.size(); ++i) {
      master[i] = normal(random);
      gradient[i] = static_cast<float>(kDivisor) * normal(random);
      first[i] = normal(random);
      second[i] = std::fabs(normal(random));
      shadow[i] = bf16_from_float(7.0f);
    }
  }
  UpdateRun run_of(size_t i) const { return runs[i / device::kRunLength]; }

  GuardedMemory<UpdateRun> runs;
  GuardedMemory<float> master, gradient, first, second;
  GuardedMemory<uint16_t> shadow;
};

struct Scalars {
  Scalars(float rate, float skip) : values(4) {
    values[0] = rate;
    values[1] = static_cast<float>(kDivisor);
    values[2] = skip;
    values[3] = 3;  // the number of the update
  }
  GuardedMemory<float> values;
};

device::FlatUpdate update_of(const Flat& flat, const Scalars& scalars, bool shadow) {
  return {.n = static_cast<int64_t>(flat.master.size()),
          .runs = flat.runs.data(),
          .master = flat.master.data(),
          .gradient = flat.gradient.data(),
          .shadow = shadow ? flat.shadow.data() : nullptr,
          .weight_decay = kDecay,
          .rate = scalars.values.data(),
          .divisor = scalars.values.data() + 1,
          .skip = scalars.values.data() + 2};
}

// What an element becomes.
struct Element {
  double weight, first, second;
};
template <typename Rule>
void expect_updated(const Flat& before, const Flat& after, bool shadow, const Rule& rule) {
  for (size_t i = 0; i < before.master.size(); ++i) {
    Element truth{before.master[i], before.first[i], before.second[i]};
    const UpdateRun run = before.run_of(i);
    if (run != UpdateRun::kLeaves)
      rule(truth, before.gradient[i] / kDivisor, run == UpdateRun::kUpdatesWithDecay ? kDecay : 0);
    EXPECT_NEAR(after.master[i], truth.weight, 2e-6 * (1 + std::fabs(truth.weight))) << i;
    EXPECT_NEAR(after.first[i], truth.first, 2e-6 * (1 + std::fabs(truth.first))) << i;
    EXPECT_NEAR(after.second[i], truth.second, 2e-6 * (1 + truth.second)) << i;
    const bool written = shadow && run != UpdateRun::kLeaves;
    EXPECT_EQ(after.shadow[i], bf16_from_float(written ? after.master[i] : 7.0f)) << i;
  }
}

void expect_untouched(const Flat& before, const Flat& after) {
  for (size_t i = 0; i < before.master.size(); ++i) {
    EXPECT_EQ(after.master[i], before.master[i]);
    EXPECT_EQ(after.first[i], before.first[i]);
    EXPECT_EQ(after.second[i], before.second[i]);
    EXPECT_EQ(after.shadow[i], before.shadow[i]);
  }
}

TEST(UpdateKernels, SgdIsItsFormula) {
  for (const size_t runs : {1, 3, 40, 257}) {
    for (const double factor : {0.0, 0.9}) {
      for (const bool nesterov : {false, true}) {
        for (const bool shadow : {false, true}) {
          const Flat before(runs), after(runs);
          device::update_by_sgd(
              update_of(after, {0.1f, 0.0f}, shadow),
              {factor > 0 ? after.first.data() : nullptr, factor, nesterov && factor > 0},
              nullptr);
          expect_updated(before, after, shadow, [&](Element& e, double g, double decay) {
            g += decay * e.weight;
            if (factor > 0) {
              e.first = factor * e.first + g;
              g = nesterov ? g + factor * e.first : e.first;
            }
            e.weight -= 0.1 * g;
          });
        }
      }
    }
  }
}

TEST(UpdateKernels, AdamWIsItsFormula) {
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kRate = 0.01;
  for (const size_t runs : {1, 3, 40, 257}) {
    for (const bool shadow : {false, true}) {
      const Flat before(runs), after(runs);
      const Scalars scalars(static_cast<float>(kRate), 0.0f);
      device::update_by_adamw(update_of(after, scalars, shadow),
                              {.exp_avg = after.first.data(),
                               .exp_avg_sq = after.second.data(),
                               .step = scalars.values.data() + 3,
                               .beta1 = kBeta1,
                               .beta2 = kBeta2,
                               .epsilon = kEpsilon},
                              nullptr);
      expect_updated(before, after, shadow, [&](Element& e, double g, double decay) {
        e.weight -= kRate * decay * e.weight;
        e.first = kBeta1 * e.first + (1 - kBeta1) * g;
        e.second = kBeta2 * e.second + (1 - kBeta2) * g * g;
        const double m = e.first / (1 - std::pow(kBeta1, 3));
        const double v = e.second / (1 - std::pow(kBeta2, 3));
        e.weight -= kRate * m / (std::sqrt(v) + kEpsilon);
      });
    }
  }
}

TEST(UpdateKernels, ASkippedUpdateTouchesNothing) {
  const Flat before(5), after(5);
  after.gradient[17] = std::numeric_limits<float>::quiet_NaN();
  const Scalars scalars(0.1f, 1.0f);
  device::update_by_sgd(update_of(after, scalars, true), {after.first.data(), 0.9, false}, nullptr);
  device::update_by_adamw(
      update_of(after, scalars, true),
      {after.first.data(), after.second.data(), scalars.values.data() + 3, 0.9, 0.999, 1e-8},
      nullptr);
  expect_untouched(before, after);
}

// Three layers of 2, 0 images' worth and 300 channels.
TEST(UpdateKernels, RunningStatisticsMoveByTheirFormula) {
  const std::vector<std::pair<size_t, float>> layers{{2, 12.0f}, {3, 0.0f}, {300, 5.0f}};
  constexpr size_t kChannels = 305;
  const GuardedMemory<int64_t> layer_of_channel(kChannels), batches(3);
  const GuardedMemory<float> momentum(kChannels), mean(kChannels), variance(kChannels);
  const GuardedMemory<float> mean_sum(kChannels), variance_sum(kChannels), images(3), skip(1);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  size_t channel = 0;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    batches[layer] = 40;
    images[layer] = layers[layer].second;
    for (size_t i = 0; i < layers[layer].first; ++i, ++channel) {
      layer_of_channel[channel] = static_cast<int64_t>(layer);
      momentum[channel] = 0.1f * static_cast<float>(layer + 1);
      mean[channel] = variance[channel] = static_cast<float>(channel);
      mean_sum[channel] = normal(random);
      variance_sum[channel] = normal(random);
    }
  }
  const kernels::RunningStatistics statistics{.channels = kChannels,
                                              .layers = 3,
                                              .layer_of_channel = layer_of_channel.data(),
                                              .momentum = momentum.data(),
                                              .mean_sum = mean_sum.data(),
                                              .variance_sum = variance_sum.data(),
                                              .mean_images = images.data(),
                                              .variance_images = images.data(),
                                              .mean = mean.data(),
                                              .variance = variance.data(),
                                              .batches = batches.data()};
  skip[0] = 1;
  device::move_running_statistics(statistics, skip.data(), nullptr);
  for (size_t i = 0; i < kChannels; ++i) EXPECT_EQ(mean[i], static_cast<float>(i));
  EXPECT_EQ(batches[0], 40);
  skip[0] = 0;
  device::move_running_statistics(statistics, skip.data(), nullptr);
  for (size_t i = 0; i < kChannels; ++i) {
    const auto before = static_cast<double>(i);
    const auto moved = [&](double sum) {
      const double images_of_layer = images[static_cast<size_t>(layer_of_channel[i])];
      if (images_of_layer == 0) return before;
      return (1 - momentum[i]) * before + momentum[i] * sum / images_of_layer;
    };
    EXPECT_NEAR(mean[i], moved(mean_sum[i]), 1e-6 * (1 + before));
    EXPECT_NEAR(variance[i], moved(variance_sum[i]), 1e-6 * (1 + before));
  }
  for (const size_t layer : {0, 1, 2}) EXPECT_EQ(batches[layer], 41);
}

}  // namespace
}  // namespace lockstep::test
