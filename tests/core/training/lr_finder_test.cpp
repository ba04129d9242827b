#include "lockstep/core/training/lr_finder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

LrFinder tested(const LrFinderOptions& options, const std::function<double(double)>& loss) {
  LrFinder finder(options);
  while (!finder.finished()) finder.record(loss(finder.next_rate()));
  return finder;
}

std::optional<double> suggestion(const LrFinder& finder) {
  return suggest_learning_rate(finder.points(), finder.options().updates);
}

// Flat at 2.3 up to a rate of 1e-3, then falling by 1 a decade, without end.
double falling(double rate) { return 2.3 - std::max(0.0, std::log10(rate) + 3); }

TEST(LrFinder, RatesRiseGeometricallyFromStartToEnd) {
  const LrFinder finder =
      tested({.start = 1e-4, .end = 1, .updates = 41}, [](double) { return 1; });
  ASSERT_EQ(finder.points().size(), 41u);
  for (size_t i = 0; i < 41; ++i) {
    const double expected = std::pow(10.0, -4 + 0.1 * static_cast<double>(i));
    EXPECT_NEAR(finder.points()[i].learning_rate / expected, 1, 1e-12);
  }
  EXPECT_FALSE(finder.diverged());
}

TEST(LrFinder, SmoothingOfAConstantIsTheConstantFromTheStart) {
  const LrFinder finder = tested({.updates = 30}, [](double) { return 2.5; });
  for (const LrFinderPoint& point : finder.points()) EXPECT_NEAR(point.smoothed_loss, 2.5, 1e-12);
}

TEST(LrFinder, SmoothingFollowsTheCorrectedExponentialMean) {
  LrFinder finder({});
  finder.record(1);
  finder.record(2);
  EXPECT_NEAR(finder.points()[1].smoothed_loss, (0.9 * 0.1 * 1 + 0.1 * 2) / (1 - 0.81), 1e-12);
}

TEST(LrFinder, EndsWhereTheSmoothedLossIsFourTimesItsLowest) {
  const LrFinder finder =
      tested({.updates = 60}, [](double rate) { return rate < 0.1 ? 1.0 : 1000.0; });
  EXPECT_TRUE(finder.diverged());
  EXPECT_LT(finder.points().size(), 60u);
  const auto& points = finder.points();
  EXPECT_LE(points[points.size() - 2].smoothed_loss, 4.0);
  EXPECT_GT(points.back().smoothed_loss, 4.0);
}

TEST(LrFinder, EndsWithALossThatIsNotFinite) {
  for (double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const LrFinder finder = tested({}, [&](double rate) { return rate < 0.1 ? 1.0 : bad; });
    EXPECT_TRUE(finder.diverged());
    EXPECT_FALSE(suggestion(finder));
  }
  EXPECT_TRUE(tested({}, [](double) { return std::nan(""); }).finished());
}

TEST(LrFinder, SuggestsTheGridValueWhereTheLossIsATenthBelowItsStart) {
  // 0.23 below at 1e-3 * 10^0.23 = 1.7e-3; the mean of the last ten updates is there nine updates
  // of 0.01 decades later: 2.1e-3.
  const LrFinder finder = tested({.start = 1e-5, .end = 10, .updates = 601}, falling);
  EXPECT_EQ(suggestion(finder), 0.002);
}

TEST(LrFinder, WhatHappensAtHighRatesDoesNotMoveTheSuggestion) {
  const auto with_end = [](double end) {
    return [=](double rate) { return rate < 0.1 ? falling(rate) : end; };
  };
  EXPECT_EQ(suggestion(tested({}, with_end(0.3))), suggestion(tested({}, with_end(50))));
  EXPECT_TRUE(suggestion(tested({}, with_end(50))));
}

TEST(LrFinder, SmallDifferencesGiveTheSameSuggestion) {
  const auto expected = suggestion(tested({}, falling));
  ASSERT_TRUE(expected);
  for (int k = 1; k <= 20; ++k) {
    const auto shaken = [&](double rate) {
      return falling(rate) * (1 + 1e-3 * std::sin(k * 1000 * rate));
    };
    EXPECT_EQ(suggestion(tested({}, shaken)), expected) << k;
  }
}

TEST(LrFinder, ALossThatDoesNotFallSuggestsNothing) {
  EXPECT_FALSE(suggestion(tested({}, [](double) { return 2.3; })));
  EXPECT_FALSE(suggestion(tested({}, [](double rate) { return 2.3 + rate; })));
  EXPECT_FALSE(suggest_learning_rate({}, 100));
}

TEST(LrFinder, RoundsInRatio) {
  EXPECT_EQ(round_to_1_2_5(0.1), 0.1);
  EXPECT_EQ(round_to_1_2_5(0.0014), 0.001);  // sqrt(1 * 2) = 1.414
  EXPECT_EQ(round_to_1_2_5(0.00142), 0.002);
  EXPECT_EQ(round_to_1_2_5(0.0317), 0.05);  // sqrt(2 * 5) = 3.162
  EXPECT_EQ(round_to_1_2_5(7.2), 10.0);     // sqrt(5 * 10) = 7.07
  EXPECT_EQ(round_to_1_2_5(300), 200.0);
}

TEST(LrFinder, RefusesRatesThatDoNotRiseAndTooFewUpdates) {
  for (const LrFinderOptions& bad : {LrFinderOptions{.start = 0},
                                     LrFinderOptions{.start = 20},
                                     LrFinderOptions{.end = INFINITY},
                                     LrFinderOptions{.start = NAN},
                                     LrFinderOptions{.updates = 19}}) {
    EXPECT_THROW(LrFinder{bad}, Error);
  }
}

}  // namespace
}  // namespace lockstep
