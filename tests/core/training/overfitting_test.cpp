#include "lockstep/core/training/overfitting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "lockstep/core/random/random.h"

namespace lockstep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const double kTenClasses = std::log(10.0);

std::vector<double> curve(int64_t epochs, const std::function<double(double)>& value) {
  std::vector<double> values;
  for (int64_t epoch = 1; epoch <= epochs; ++epoch)
    values.push_back(value(static_cast<double>(epoch)));
  return values;
}

// Falls from 2.3 towards `floor`.
std::function<double(double)> decay(double floor, double pace) {
  return [=](double epoch) { return floor + (2.3 - floor) * std::exp(-(epoch - 1) / pace); };
}

// Normally distributed values (Box and Muller) of a seed added to a curve.
std::vector<double> with_noise(std::vector<double> values, double deviation, uint64_t seed) {
  const Philox random(seed, RandomUse::kSynthetic);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto draw = random(static_cast<uint32_t>(i));
    const double u = (draw[0] + 1.0) / 4294967297.0, v = draw[1] / 4294967296.0;
    values[i] += deviation * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
  return values;
}

// Falls to about 0.5 and rises from epoch 13 on by 0.02 an epoch.
double classic_u(double epoch) { return decay(0.5, 3)(epoch) + 0.02 * std::max(0.0, epoch - 12); }

LearningCurves first_epochs(const LearningCurves& whole, int64_t epochs) {
  return {{whole.train_loss.begin(), whole.train_loss.begin() + epochs},
          {whole.validation_loss.begin(), whole.validation_loss.begin() + epochs}};
}

// The epoch after which a run that analyses its curves each epoch first sees overfitting; 0 =
// never.
int64_t first_seen(const LearningCurves& whole) {
  for (int64_t n = 1; n <= static_cast<int64_t>(whole.train_loss.size()); ++n) {
    if (analyse_curves(first_epochs(whole, n), kTenClasses).overfit_since > 0) return n;
  }
  return 0;
}

TEST(Overfitting, SmoothingDropsALoneSpikeAndKeepsStraightLinesAndConstants) {
  std::vector<double> line = curve(9, [](double e) { return 5 - 0.5 * e; });
  const std::vector<double> smooth = smoothed_curve(line);
  for (size_t i = 0; i < line.size(); ++i) EXPECT_NEAR(smooth[i], line[i], 1e-12);
  const std::vector<double> constant(7, 0.1 + 0.2);
  EXPECT_EQ(smoothed_curve(constant), constant);
  std::vector<double> spike(9, 1.0);
  spike[4] = 1e6;
  EXPECT_EQ(smoothed_curve(spike), std::vector<double>(9, 1.0));
}

TEST(Overfitting, SmoothingFollowsTukeysDefinition) {
  const std::vector<double> smooth = smoothed_curve({4, 5, 3, 1, 6, 2});
  // Pass 1: medians of 3 inside: 4, 3, 3, 2; ends: med(4, 4, 3*4 - 2*3 = 6) = 4 and med(2, 2, 0)
  // = 2. Weights: 4, 3.75, 3.25, 2.75, 2.25, 2. Pass 2: it is monotone, so medians change nothing.
  EXPECT_THAT(smooth, testing::ElementsAre(4, 3.6875, 3.25, 2.75, 2.3125, 2));
}

TEST(Overfitting, NothingIsSaidOfNoEpochOrAFew) {
  const OverfittingAnalysis nothing = analyse_curves({}, kTenClasses);
  EXPECT_EQ(nothing.verdict, Verdict::kTooShort);
  EXPECT_EQ(nothing.sweet_spot_epoch, 0);
  const OverfittingAnalysis one = analyse_curves({{2.0}, {1.9}}, kTenClasses);
  EXPECT_EQ(one.verdict, Verdict::kTooShort);
  EXPECT_EQ(one.sweet_spot_epoch, 1);
  EXPECT_DOUBLE_EQ(one.sweet_spot_loss, 1.9);
  EXPECT_NEAR(one.final_gap, -0.1, 1e-12);
  const std::vector<double> never(20, kNan);
  EXPECT_EQ(analyse_curves({std::vector<double>(20, 1.0), never}, kTenClasses).sweet_spot_epoch, 0);
  EXPECT_EQ(analyse_curves({std::vector<double>(20, 1.0), {}}, kTenClasses).verdict,
            Verdict::kTooShort);
}

TEST(Overfitting, FindsTheFloorOfAClassicUAndItsRise) {
  const LearningCurves curves{curve(30, decay(0.05, 8)), curve(30, [](double e) {
                                return 0.6 + 0.004 * (e - 14) * (e - 14);
                              })};
  const OverfittingAnalysis a = analyse_curves(curves, kTenClasses);
  EXPECT_EQ(a.verdict, Verdict::kOverfitting);
  EXPECT_EQ(a.sweet_spot_epoch, 14);
  EXPECT_EQ(a.overfit_since, 15);
  EXPECT_NEAR(a.sweet_spot_loss, 0.6, 0.01);
  EXPECT_NEAR(a.gap_at_sweet_spot, 0.6 - curves.train_loss[13], 0.02);
  EXPECT_NEAR(a.final_gap, curves.validation_loss[29] - curves.train_loss[29], 1e-9);
}

TEST(Overfitting, TheEarliestOfEqualEpochsIsTheSweetSpot) {
  std::vector<double> validation = curve(10, decay(0.4, 2));
  validation.insert(validation.end(), 12, 0.3);
  const OverfittingAnalysis a = analyse_curves({curve(22, decay(0.2, 5)), validation}, kTenClasses);
  EXPECT_EQ(a.sweet_spot_epoch, 13);  // 11 and 12 feel the higher 10
  EXPECT_EQ(a.verdict, Verdict::kGood);
  const std::vector<double> flat(9, 1.0);
  EXPECT_EQ(analyse_curves({flat, flat}, 0).sweet_spot_epoch, 1);
}

TEST(Overfitting, ARiseAfterALongPlateauBeginsAtItsEnd) {
  const auto validation = [](double e) { return decay(0.5, 2)(e) + 0.05 * std::max(0.0, e - 25); };
  const OverfittingAnalysis a =
      analyse_curves({curve(35, decay(0.05, 12)), curve(35, validation)}, kTenClasses);
  EXPECT_EQ(a.verdict, Verdict::kOverfitting);
  EXPECT_GE(a.overfit_since, 24);
  EXPECT_LE(a.overfit_since, 27);
}

TEST(Overfitting, FindsANoisyUOfEverySeed) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const LearningCurves curves{with_noise(curve(40, decay(0.1, 8)), 0.005, seed),
                                with_noise(curve(40, classic_u), 0.03, seed + 1000)};
    const OverfittingAnalysis a = analyse_curves(curves, kTenClasses);
    EXPECT_EQ(a.verdict, Verdict::kOverfitting) << seed;
    EXPECT_NEAR(a.sweet_spot_epoch, 13, 4) << seed;
    EXPECT_NEAR(a.overfit_since, 14, 5) << seed;
    const int64_t seen = first_seen(curves);
    EXPECT_GE(seen, 15) << seed;
    EXPECT_LE(seen, 28) << seed;
  }
}

// A run of 1,000 images of CIFAR-10, whose validation loss jumps from epoch to epoch as it rises.
TEST(Overfitting, ALargeRiseIsOneHoweverItFluctuates) {
  const LearningCurves curves{{3.845,
                               3.542,
                               3.437,
                               3.255,
                               3.141,
                               2.962,
                               2.692,
                               2.494,
                               2.235,
                               2.161,
                               1.910,
                               1.712,
                               1.708,
                               1.393,
                               1.094,
                               0.976},
                              {6.218,
                               3.689,
                               2.609,
                               2.284,
                               2.249,
                               2.251,
                               2.589,
                               2.238,
                               2.442,
                               3.097,
                               2.580,
                               3.463,
                               2.827,
                               2.769,
                               3.223,
                               3.234}};
  EXPECT_EQ(analyse_curves(curves, kTenClasses).verdict, Verdict::kOverfitting);
}

TEST(Overfitting, APlateauThatFluctuatesRarelyAlarmsInAWholeRun) {
  int alarms = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const LearningCurves curves{with_noise(curve(40, decay(0.1, 8)), 0.005, seed),
                                with_noise(curve(40, decay(0.5, 3)), 0.05, seed + 1000)};
    alarms += first_seen(curves) > 0;
  }
  EXPECT_LE(alarms, 8);  // of 100 runs, each analysed after every one of 40 epochs
}

TEST(Overfitting, ALoneSpikeOrARiseThatWentBackIsNone) {
  std::vector<double> validation = curve(20, decay(0.5, 3));
  validation[17] = 4.0;
  const std::vector<double> train = curve(20, decay(0.3, 6));
  EXPECT_EQ(analyse_curves({train, validation}, kTenClasses).overfit_since, 0);
  validation = curve(20, decay(0.5, 3));
  for (size_t i = 8; i < 13; ++i) validation[i] += 0.3;
  EXPECT_EQ(analyse_curves({train, validation}, kTenClasses).overfit_since, 0);
}

TEST(Overfitting, EpochsThatAreNotKnownArePassedOver) {
  LearningCurves curves{curve(30, decay(0.1, 8)), curve(30, classic_u)};
  const OverfittingAnalysis whole = analyse_curves(curves, kTenClasses);
  curves.validation_loss[4] = kNan;
  curves.train_loss[20] = std::numeric_limits<double>::infinity();
  const OverfittingAnalysis holed = analyse_curves(curves, kTenClasses);
  EXPECT_EQ(holed.epochs, 28);
  EXPECT_EQ(holed.verdict, Verdict::kOverfitting);
  EXPECT_EQ(holed.sweet_spot_epoch, whole.sweet_spot_epoch);
  EXPECT_EQ(holed.overfit_since, whole.overfit_since);
  EXPECT_TRUE(std::isnan(smoothed_curve(curves.validation_loss)[4]));
}

TEST(Overfitting, ALossThatStillFallsIsStillImproving) {
  const OverfittingAnalysis a =
      analyse_curves({curve(12, decay(0.2, 10)), curve(12, decay(0.3, 10))}, kTenClasses);
  EXPECT_EQ(a.verdict, Verdict::kStillImproving);
  EXPECT_EQ(a.sweet_spot_epoch, 12);
}

TEST(Overfitting, ValidationBelowTrainingIsNormal) {
  // Mixed and augmented images: the training loss stays high where all is learnt.
  const OverfittingAnalysis a =
      analyse_curves({curve(40, decay(1.3, 4)), curve(40, decay(0.4, 4))}, kTenClasses);
  EXPECT_EQ(a.verdict, Verdict::kGood);
  EXPECT_LT(a.final_gap, -0.8);
}

TEST(Overfitting, HighFlatLossesAreUnderfit) {
  const std::vector<double> guessing = with_noise(std::vector<double>(15, 2.303), 0.002, 3);
  EXPECT_EQ(analyse_curves({guessing, guessing}, kTenClasses).verdict, Verdict::kUnderfit);
  const LearningCurves too_small{curve(30, decay(1.5, 3)), curve(30, decay(1.55, 3))};
  EXPECT_EQ(analyse_curves(too_small, kTenClasses).verdict, Verdict::kUnderfit);
  EXPECT_EQ(analyse_curves(too_small, std::log(1000.0)).verdict, Verdict::kGood);
  EXPECT_EQ(analyse_curves(too_small, 0).verdict, Verdict::kGood);  // not known
}

TEST(Overfitting, ADivergenceIsUnstableRatherThanOverfit) {
  const auto rising = [](double e) { return decay(0.5, 3)(e) + 0.1 * std::max(0.0, e - 12); };
  const LearningCurves curves{curve(20, rising),
                              curve(20, [&](double e) { return rising(e) + 0.1; })};
  const OverfittingAnalysis a = analyse_curves(curves, kTenClasses);
  EXPECT_EQ(a.verdict, Verdict::kUnstable);
  EXPECT_EQ(a.overfit_since, 0);
}

}  // namespace
}  // namespace lockstep
