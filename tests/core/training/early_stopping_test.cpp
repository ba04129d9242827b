#include "lockstep/core/training/early_stopping.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace lockstep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct WatchedRun {
  std::vector<bool> improved;
  int64_t stopped_after = 0;  // epoch, from 1; 0 = ran to the end of the values
  EarlyStoppingState state;
  std::vector<int64_t> patience_left;
};

WatchedRun watch(const EarlyStoppingConfig& config, const std::vector<double>& values) {
  WatchedRun result;
  int64_t epoch = 0;
  for (double value : values) {
    const EarlyStoppingDecision decision =
        early_stopping_after_epoch(config, result.state, ++epoch, value);
    result.state = decision.state;
    result.improved.push_back(decision.improved);
    result.patience_left.push_back(decision.patience_left);
    if (decision.stop) {
      result.stopped_after = epoch;
      break;
    }
  }
  return result;
}

EarlyStoppingConfig with_patience(int64_t patience) {
  EarlyStoppingConfig config;
  config.patience = patience;
  return config;
}

TEST(EarlyStopping, StopsAfterPatienceEpochsWithoutAnImprovement) {
  const WatchedRun r = watch(with_patience(3), {1.0, 0.5, 0.6, 0.7, 0.8, 0.1});
  EXPECT_EQ(r.stopped_after, 5);
  EXPECT_EQ(r.state.best_epoch, 2);
  EXPECT_EQ(r.state.best, 0.5);
  EXPECT_EQ(r.improved, (std::vector<bool>{true, true, false, false, false}));
  EXPECT_EQ(r.patience_left, (std::vector<int64_t>{3, 3, 2, 1, 0}));
}

TEST(EarlyStopping, StartsCountingAnewAfterAnImprovement) {
  const WatchedRun r = watch(with_patience(2), {1.0, 1.1, 0.9, 1.0, 0.8, 0.9, 0.7});
  EXPECT_EQ(r.stopped_after, 0);
  EXPECT_EQ(r.state.best_epoch, 7);
}

TEST(EarlyStopping, DoesNotTakeATieForAnImprovement) {
  const WatchedRun r = watch(with_patience(2), {0.5, 0.5, 0.5, 0.4});
  EXPECT_EQ(r.stopped_after, 3);
  EXPECT_EQ(r.state.best_epoch, 1);
}

TEST(EarlyStopping, TreatsPatienceZeroAsOne) {
  for (int64_t patience : {0, 1}) {
    EXPECT_EQ(watch(with_patience(patience), {1.0, 0.9, 0.95, 0.1}).stopped_after, 3) << patience;
    EXPECT_EQ(watch(with_patience(patience), {1.0}).stopped_after, 0) << patience;
  }
}

TEST(EarlyStopping, WantsAtLeastMinDelta) {
  EarlyStoppingConfig config = with_patience(3);
  config.min_delta = 0.25;
  // Numbers that are exact in binary: changes of slightly less than 0.25 and of 0.25.
  const WatchedRun r = watch(config, {1.0, 0.7578125, 0.75, 0.625, 0.5, 0.375});
  EXPECT_EQ(r.improved, (std::vector<bool>{true, false, true, false, true, false}));
  EXPECT_EQ(r.stopped_after, 0);
}

TEST(EarlyStopping, TakesNoTieForAnImprovement) {
  const WatchedRun r = watch(with_patience(2), {0.5, 0.5, 0.5});
  EXPECT_EQ(r.improved, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(r.stopped_after, 3);
}

TEST(EarlyStopping, MeasuresSmallStepsAgainstTheBestAndNotTheLastValue) {
  EarlyStoppingConfig config = with_patience(10);
  config.min_delta = 0.25;
  const WatchedRun r = watch(config, {1.0, 0.875, 0.78125, 0.703125});
  EXPECT_EQ(r.improved, (std::vector<bool>{true, false, false, true}));
}

TEST(EarlyStopping, WatchesAccuracyUpwards) {
  EarlyStoppingConfig config = with_patience(2);
  config.quantity = "validation_accuracy";
  const WatchedRun r = watch(config, {0.1, 0.5, 0.4, 0.5, 0.9});
  EXPECT_EQ(r.improved, (std::vector<bool>{true, true, false, false}));
  EXPECT_EQ(r.stopped_after, 4);
  EXPECT_EQ(r.state.best, 0.5);
}

TEST(EarlyStopping, NeverTakesNanOrInfinityForAnImprovement) {
  const WatchedRun r = watch(with_patience(3), {1.0, kNan, -kInfinity, kNan, 0.1});
  EXPECT_EQ(r.stopped_after, 4);
  EXPECT_EQ(r.state.best, 1.0);
}

TEST(EarlyStopping, TakesTheFirstFiniteValueAfterNanAsTheBest) {
  for (const char* quantity : {"validation_loss", "validation_accuracy"}) {
    EarlyStoppingConfig config = with_patience(3);
    config.quantity = quantity;
    config.min_delta = 100.0;  // binds only once there is a best value
    const WatchedRun r = watch(config, {kNan, kNan, 0.5});
    EXPECT_EQ(r.improved, (std::vector<bool>{false, false, true})) << quantity;
    EXPECT_EQ(r.state.best_epoch, 3) << quantity;
    EXPECT_EQ(r.state.epochs_without_improvement, 0) << quantity;
  }
}

TEST(EarlyStopping, StopsARunThatIsNanFromTheStart) {
  const WatchedRun r = watch(with_patience(2), {kNan, kNan, kNan});
  EXPECT_EQ(r.stopped_after, 2);
  EXPECT_EQ(r.state.best_epoch, 0);
}

TEST(EarlyStopping, TracksTheBestButNeverStopsWhenDisabled) {
  EarlyStoppingConfig config = with_patience(1);
  config.enabled = false;
  const WatchedRun r = watch(config, {1.0, 2.0, 3.0, 0.5, 4.0, 5.0});
  EXPECT_EQ(r.stopped_after, 0);
  EXPECT_EQ(r.state.best_epoch, 4);
  EXPECT_EQ(r.state.best, 0.5);
}

TEST(EarlyStopping, DecidesTheSameAfterAResume) {
  const EarlyStoppingConfig config = with_patience(3);
  const std::vector<double> values{1.0, 0.5, 0.6, 0.7, 0.8};
  EarlyStoppingState state;
  for (int64_t i = 0; i < 3; ++i) {
    state = early_stopping_after_epoch(config, state, i + 1, values[static_cast<size_t>(i)]).state;
  }
  // What a checkpoint holds is enough to go on.
  EarlyStoppingState restored{.best = state.best,
                              .best_epoch = state.best_epoch,
                              .epochs_without_improvement = state.epochs_without_improvement};
  EXPECT_FALSE(early_stopping_after_epoch(config, restored, 4, values[3]).stop);
  restored = early_stopping_after_epoch(config, restored, 4, values[3]).state;
  EXPECT_TRUE(early_stopping_after_epoch(config, restored, 5, values[4]).stop);
}

}  // namespace
}  // namespace lockstep
