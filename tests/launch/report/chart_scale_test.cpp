#include "lockstep/launch/report/chart_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lockstep {
namespace {

const double kNan = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();

TEST(Axis, TicksAreRoundNumbersWithinTheAxis) {
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {0, 1}, {0.37, 1.52}, {-3, 8}, {1e-7, 3e-7}, {12345, 98765}, {-1e9, 1e9}}) {
    const Axis axis = linear_axis(low, high, 5, true);
    EXPECT_LE(axis.low, low);
    EXPECT_GE(axis.high, high);
    ASSERT_GE(axis.ticks.size(), 3u);
    ASSERT_LE(axis.ticks.size(), 8u);
    const double step = axis.ticks[1] - axis.ticks[0];
    const double mantissa = step / std::pow(10, std::floor(std::log10(step) + 1e-9));
    EXPECT_TRUE(std::abs(mantissa - 1) < 1e-6 || std::abs(mantissa - 2) < 1e-6 ||
                std::abs(mantissa - 5) < 1e-6)
        << step;
    for (const double tick : axis.ticks) {
      EXPECT_GE(axis.place(tick), 0);
      EXPECT_LE(axis.place(tick), 1);
      EXPECT_NEAR(tick / step, std::round(tick / step), 1e-6);
    }
  }
}

TEST(Axis, PlacesEndsAtItsEnds) {
  const Axis linear = linear_axis(0, 10, 5, true);
  EXPECT_EQ(linear.place(0), 0);
  EXPECT_EQ(linear.place(2.5), 0.25);
  EXPECT_EQ(linear.place(10), 1);
  EXPECT_EQ(linear.place(99), 1);
  const Axis logarithmic = logarithmic_axis(1e-4, 1);
  EXPECT_NEAR(logarithmic.place(1e-2), 0.5, 1e-12);
  EXPECT_TRUE(std::isnan(logarithmic.place(0)));
  EXPECT_TRUE(std::isnan(logarithmic.place(-1)));
}

TEST(Axis, LogarithmicTicksArePowersOfTenAndFewTwosAndFives) {
  EXPECT_EQ(logarithmic_axis(1, 10).ticks, (std::vector<double>{1, 2, 5, 10}));
  EXPECT_EQ(logarithmic_axis(1e-3, 10).ticks.size(), 5u);
  EXPECT_LE(logarithmic_axis(1e-30, 1e30).ticks.size(), 8u);
}

TEST(Axis, UnusableRangesGiveAnAxisAllTheSame) {
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {5, 5}, {0, 0}, {kNan, 1}, {kInfinity, -kInfinity}, {-1e308, 1e308}, {1e-320, 1e-319}}) {
    for (const Axis& axis : {linear_axis(low, high, 5, true), logarithmic_axis(low, high)}) {
      EXPECT_LT(axis.low, axis.high);
      EXPECT_LE(axis.ticks.size(), 20u);
      EXPECT_TRUE(std::isfinite(axis.place(axis.high)));
    }
  }
}

TEST(Ticks, AreWrittenForPeople) {
  EXPECT_EQ(tick_text(linear_axis(0, 1, 5, true), 0.2, true), "20 %");
  EXPECT_EQ(tick_text(linear_axis(0, 1, 5, true), 0.2, false), "0.2");
  EXPECT_EQ(tick_text(linear_axis(0, 5000, 5, true), 3000, false), "3,000");
  EXPECT_EQ(tick_text(logarithmic_axis(1e-5, 1), 1e-5, false), "1e-05");
}

TEST(Segments, BreakWhereANumberIsMissing) {
  const auto runs =
      segments({{1, 1}, {2, 2}, {3, kNan}, {4, kInfinity}, {5, 5}, {kNan, 6}, {7, 7}});
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].size(), 2u);
  EXPECT_EQ(runs[1][0].x, 5);
  EXPECT_EQ(runs[2][0].y, 7);
  EXPECT_TRUE(segments({{1, kNan}}).empty());
  EXPECT_TRUE(segments({}).empty());
}

TEST(Thinning, KeepsMeansAndGaps) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 1000; ++i) points.push_back({i + 0.0, i < 500 ? 3.0 : kNan});
  const auto few = thinned(points, 10);
  ASSERT_EQ(few.size(), 10u);
  EXPECT_DOUBLE_EQ(few[0].x, 49.5);
  EXPECT_DOUBLE_EQ(few[4].y, 3);
  EXPECT_TRUE(std::isnan(few[5].y));
  EXPECT_EQ(thinned(points, 1000).size(), 1000u);
}

}  // namespace
}  // namespace lockstep
