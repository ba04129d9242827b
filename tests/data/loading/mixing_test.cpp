#include "lockstep/data/loading/mixing.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lockstep {
namespace {

constexpr ImageShape kShape{3, 32, 24};

AugmentationConfig config_of(double mixup, double cutmix) {
  AugmentationConfig config;
  config.mixup = mixup;
  config.cutmix = cutmix;
  return config;
}

struct Moments {
  double sum = 0, squares = 0;
  int64_t n = 0;
  void add(double value) {
    sum += value;
    squares += value * value;
    ++n;
  }
  double mean() const { return sum / static_cast<double>(n); }
  double deviation() const { return std::sqrt(squares / static_cast<double>(n) - mean() * mean()); }
};

TEST(Mixing, IsOffWithoutAlpha) {
  EXPECT_FALSE(mixes(AugmentationConfig{}));
  EXPECT_EQ(draw_mixing(AugmentationConfig{}, kShape, 1, 0, 0).weight, 1.0);
}

TEST(Mixing, DrawsOneOfBothMethodsForEachBatch) {
  const AugmentationConfig both = config_of(0.2, 1.0);
  constexpr int64_t kBatches = 10'000;
  int64_t num_cutmix = 0;
  for (int64_t batch = 0; batch < kBatches; ++batch) {
    const Mixing mixing = draw_mixing(both, kShape, 1, 2, batch);
    num_cutmix += mixing.cutmix;
    // Which of them it is does not change what each would draw alone.
    const auto alone = mixing.cutmix ? config_of(0, 1.0) : config_of(0.2, 0);
    EXPECT_EQ(draw_mixing(alone, kShape, 1, 2, batch).weight, mixing.weight);
    EXPECT_EQ(draw_mixing(alone, kShape, 1, 2, batch).cutmix, mixing.cutmix);
  }
  EXPECT_NEAR(num_cutmix, 5000, 4 * 50);
}

TEST(Mixing, DrawsMixupWeightsFromTheBetaDistribution) {
  Moments weights;
  for (int64_t batch = 0; batch < 50'000; ++batch)
    weights.add(draw_mixing(config_of(0.2, 0), kShape, 1, 0, batch).weight);
  EXPECT_NEAR(weights.mean(), 0.5, 0.008);
  EXPECT_NEAR(weights.deviation(), std::sqrt(1 / (4 * 1.4)), 0.004);
}

// torchvision 0.26's v2.CutMix on images of 32 x 24: means and deviations of 100,000 draws.
TEST(Mixing, PlacesBoxesAsTorchvisionDoes) {
  struct Expected {
    double alpha, weight, weight_deviation, height, width;
  };
  for (const auto& expected : {Expected{0.2, 0.7279, 0.2412, 14.014, 10.325},
                               Expected{1.0, 0.7043, 0.1817, 16.656, 12.310}}) {
    Moments weights, heights, widths;
    for (int64_t batch = 0; batch < 50'000; ++batch) {
      const Mixing m = draw_mixing(config_of(0, expected.alpha), kShape, 1, 0, batch);
      ASSERT_TRUE(m.cutmix);
      ASSERT_TRUE(0 <= m.top && m.top <= m.bottom && m.bottom <= kShape.height);
      ASSERT_TRUE(0 <= m.left && m.left <= m.right && m.right <= kShape.width);
      const auto area = static_cast<double>((m.bottom - m.top) * (m.right - m.left));
      ASSERT_DOUBLE_EQ(m.weight, 1.0 - area / (32 * 24));
      weights.add(m.weight);
      heights.add(static_cast<double>(m.bottom - m.top));
      widths.add(static_cast<double>(m.right - m.left));
    }
    EXPECT_NEAR(weights.mean(), expected.weight, 0.006);
    EXPECT_NEAR(weights.deviation(), expected.weight_deviation, 0.004);
    EXPECT_NEAR(heights.mean(), expected.height, 0.25);
    EXPECT_NEAR(widths.mean(), expected.width, 0.19);
  }
}

TEST(Mixing, DependsOnSeedEpochAndBatchAlone) {
  const AugmentationConfig config = config_of(0.4, 0);
  const double weight = draw_mixing(config, kShape, 1, 2, 3).weight;
  EXPECT_EQ(draw_mixing(config, kShape, 1, 2, 3).weight, weight);
  EXPECT_NE(draw_mixing(config, kShape, 2, 2, 3).weight, weight);
  EXPECT_NE(draw_mixing(config, kShape, 1, 3, 3).weight, weight);
  EXPECT_NE(draw_mixing(config, kShape, 1, 2, 4).weight, weight);
}

TEST(Mixing, BlendsEachImageWithTheOneBefore) {
  at::manual_seed(1);
  const at::Tensor images = at::randn({6, 3, 5, 4});
  const at::Tensor own = images.narrow(0, 1, 5), partners = images.narrow(0, 0, 5);
  Mixing mixing;
  mixing.weight = 0.3;
  EXPECT_TRUE(at::allclose(mix(images, mixing), at::lerp(partners, own, 0.3), 1e-6, 1e-6));

  mixing.cutmix = true;
  mixing.top = 1, mixing.bottom = 3, mixing.left = 2, mixing.right = 4;
  const at::Tensor mixed = mix(images, mixing);
  for (int64_t y = 0; y < 5; ++y) {
    for (int64_t x = 0; x < 4; ++x) {
      const bool inside = y >= 1 && y < 3 && x >= 2;
      EXPECT_TRUE(at::equal(mixed.select(2, y).select(2, x),
                            (inside ? partners : own).select(2, y).select(2, x)));
    }
  }
}

}  // namespace
}  // namespace lockstep
