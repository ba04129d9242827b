#include "lockstep/core/random/beta_distribution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

namespace lockstep {
namespace {

constexpr int64_t kDraws = 100'000;

std::vector<double> draws(double alpha, uint64_t seed = 1) {
  const Philox random(seed, RandomUse::kMixing);
  std::vector<double> values;
  for (uint32_t i = 0; i < kDraws; ++i) values.push_back(symmetric_beta(random, alpha, 0, 3, i));
  return values;
}

TEST(BetaDistribution, FollowsItsClosedForms) {
  const std::pair<double, std::function<double(double)>> cases[] = {
      {0.5, [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }},
      {1.0, [](double x) { return x; }},
      {2.0, [](double x) { return x * x * (3 - 2 * x); }},
      {3.0, [](double x) { return x * x * x * (10 - 15 * x + 6 * x * x); }}};
  for (const auto& [alpha, distribution] : cases) {
    std::vector<double> values = draws(alpha);
    std::ranges::sort(values);
    double distance = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double below = static_cast<double>(i) / kDraws, above = (i + 1.0) / kDraws;
      const double expected = distribution(values[i]);
      distance = std::max({distance, std::abs(expected - below), std::abs(expected - above)});
    }
    // Kolmogorov and Smirnov: beyond 1.95 / sqrt(n) once in a thousand times.
    EXPECT_LT(distance, 1.95 / std::sqrt(static_cast<double>(kDraws))) << alpha;
  }
}

TEST(BetaDistribution, HasItsMoments) {
  for (const double alpha : {0.01, 0.2, 0.4, 1.0, 8.0, 1000.0}) {
    double sum = 0, squares = 0;
    for (const double value : draws(alpha)) {
      ASSERT_GE(value, 0.0);
      ASSERT_LE(value, 1.0);
      sum += value;
      squares += (value - 0.5) * (value - 0.5);
    }
    const double variance = 1.0 / (4.0 * (2.0 * alpha + 1.0));
    EXPECT_NEAR(sum / kDraws, 0.5, 4 * std::sqrt(variance / kDraws)) << alpha;
    EXPECT_NEAR(squares / kDraws / variance, 1.0, 0.03) << alpha;
  }
}

TEST(BetaDistribution, IsZeroOrOneForATinyAlpha) {
  for (const double value : draws(1e-310)) EXPECT_TRUE(value == 0.0 || value == 1.0) << value;
}

TEST(BetaDistribution, DependsOnKeyAndCounterAlone) {
  EXPECT_EQ(draws(0.2), draws(0.2));
  EXPECT_NE(draws(0.2), draws(0.2, 2));
  const Philox random(1, RandomUse::kMixing);
  const double value = symmetric_beta(random, 0.2, 0, 0, 0);
  EXPECT_NE(symmetric_beta(random, 0.2, 1, 0, 0), value);
  EXPECT_NE(symmetric_beta(random, 0.2, 0, 1, 0), value);
  EXPECT_NE(symmetric_beta(random, 0.2, 0, 0, 1), value);
}

}  // namespace
}  // namespace lockstep
