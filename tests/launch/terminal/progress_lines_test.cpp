#include "lockstep/launch/terminal/progress_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "lockstep/launch/run/metrics_file.h"
#include "lockstep/launch/terminal/overfitting_lines.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(EarlyStoppingWords, SayWhatWasWatchedHowLongAndWhatChangesIt) {
  const EarlyStoppingConfig stopping{.patience = 3, .min_delta = 0.01};
  const std::string text = early_stopping_words(
      stopping,
      {.epochs = 14, .best_epoch = 11, .best_value = 0.41234, .epochs_without_improvement = 3},
      "runs/a");
  EXPECT_EQ(text,
            "stopped early after epoch 14: validation_loss has not improved by "
            "early_stopping.min_delta=0.01 or more for 3 epochs, as early_stopping.patience=3 "
            "demands; best 0.4123 at epoch 11, whose weights are tested\n"
            "to wait longer: --run-dir runs/a --resume --set early_stopping.patience=6");
}

TEST(EarlyStoppingWords, PatienceZeroWaitsOneEpoch) {
  const EarlyStoppingConfig stopping{
      .quantity = "validation_accuracy", .patience = 0, .restore_best = false};
  const std::string text = early_stopping_words(
      stopping,
      {.epochs = 5, .best_epoch = 4, .best_value = 0.5, .epochs_without_improvement = 1},
      "a");
  EXPECT_THAT(text,
              AllOf(HasSubstr("validation_accuracy has not improved for 1 epoch,"),
                    HasSubstr("(0 counts as 1)"),
                    HasSubstr("early_stopping.restore_best=false"),
                    HasSubstr("early_stopping.patience=2"),
                    Not(HasSubstr("min_delta"))));
}

TEST(EarlyStoppingWords, AQuantityThatWasNeverFiniteHasNoBest) {
  const std::string text =
      early_stopping_words({.patience = 2}, {.epochs = 2, .epochs_without_improvement = 2}, "a");
  EXPECT_THAT(text, AllOf(HasSubstr("never was a finite number"), Not(HasSubstr("epoch 0"))));
}

TEST(ProgressLines, ALossThatIsNotFiniteIsCalledThat) {
  const double nan = -std::numeric_limits<double>::quiet_NaN();
  ProgressLines lines(0, {}, "runs/a");
  testing::internal::CaptureStdout();
  lines.on_epoch({.epoch = 1, .train_loss = nan, .validation_loss = nan, .validation_accuracy = 0});
  lines.on_end({.test_loss = -std::numeric_limits<double>::infinity(), .test_accuracy = 0});
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("train loss not finite"),
                    HasSubstr("validation loss not finite"),
                    HasSubstr("test loss not finite"),
                    Not(HasSubstr("nan")),
                    Not(HasSubstr("inf"))));
}

// A run of 20 epochs that overfits from epoch 7 on.
EpochReport overfitting_epoch(int64_t epoch) {
  const auto e = static_cast<double>(epoch);
  return {.epoch = epoch,
          .step = epoch,
          .train_loss = 2.3 * std::exp(-e / 5),
          .validation_loss = 0.6 + 0.01 * (e - 6) * (e - 6)};
}

const StartReport kStart{.num_classes = 10, .validation_images = 100};

std::string told(OverfittingLines& lines, int64_t first, int64_t last, EndReason reason) {
  testing::internal::CaptureStdout();
  lines.on_start(kStart);
  for (int64_t epoch = first; epoch <= last; ++epoch) lines.on_epoch(overfitting_epoch(epoch));
  lines.on_end({.reason = reason, .epochs = last});
  return testing::internal::GetCapturedStdout();
}

int64_t count(const std::string& text, const std::string& word) {
  int64_t found = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

TEST(OverfittingLines, WarnOnceAndJudgeAtTheEnd) {
  OverfittingLines lines({});
  const std::string text = told(lines, 1, 20, EndReason::kCompleted);
  EXPECT_EQ(count(text, "warning: overfitting since epoch 7, seen after epoch"), 1) << text;
  EXPECT_EQ(count(text, "\noverfitting since epoch 7:"), 1) << text;
}

TEST(OverfittingLines, TheVerdictOnALaggingAverageDoesNotAskForEpochs) {
  Config config;
  config.optimizer.ema_decay = 0.9999;
  OverfittingLines lines({}, config, "runs/a");
  testing::internal::CaptureStdout();
  lines.on_start(kStart);
  for (int64_t epoch = 1; epoch <= 6; ++epoch)
    lines.on_epoch({.epoch = epoch,
                    .train_loss = 1.0 / static_cast<double>(epoch),
                    .validation_loss = 2.3 - 0.1 * static_cast<double>(epoch)});
  lines.on_end({.reason = EndReason::kCompleted, .epochs = 6, .steps = 114});
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("optimizer.ema_decay=0.91"), Not(HasSubstr("epochs="))));
}

TEST(OverfittingLines, AnInterruptedRunIsNotJudged) {
  OverfittingLines lines({});
  EXPECT_THAT(told(lines, 1, 6, EndReason::kInterrupted), IsEmpty());
}

TEST(OverfittingLines, WithoutValidationImagesNothingIsSaid) {
  OverfittingLines lines({});
  testing::internal::CaptureStdout();
  lines.on_start({.num_classes = 10});
  for (int64_t epoch = 1; epoch <= 8; ++epoch) lines.on_epoch({.epoch = epoch, .train_loss = 1});
  lines.on_end({.reason = EndReason::kCompleted});
  EXPECT_THAT(testing::internal::GetCapturedStdout(), IsEmpty());
}

// A metrics file of the run's first epochs, as a resumed run finds it.
class ResumedRun : public testing::Test {
 protected:
  LearningCurves curves_after(int64_t epochs) {
    MetricsFile file(path_, 0, 0);
    file.on_start(kStart);
    for (int64_t epoch = 1; epoch <= epochs; ++epoch) file.on_epoch(overfitting_epoch(epoch));
    return read_learning_curves(path_);
  }

  const test::TemporaryFolder folder_;
  const std::string path_ = folder_ / "metrics.jsonl";
};

TEST_F(ResumedRun, KnowsItsEarlierEpochs) {
  OverfittingLines lines(curves_after(8));
  const std::string text = told(lines, 9, 20, EndReason::kCompleted);
  EXPECT_EQ(count(text, "warning: overfitting since epoch 7"), 1) << text;
  EXPECT_THAT(text, HasSubstr("lowest at epoch 6"));
}

TEST_F(ResumedRun, DoesNotWarnAgain) {
  OverfittingLines lines(curves_after(18));
  const std::string text = told(lines, 19, 20, EndReason::kCompleted);
  EXPECT_EQ(count(text, "warning"), 0) << text;
  EXPECT_EQ(count(text, "overfitting since epoch 7:"), 1) << text;
}

TEST_F(ResumedRun, WritesTheVerdictOnAllEpochsIntoTheEndLine) {
  curves_after(12);
  MetricsFile resumed(path_, 12, 12);
  resumed.on_start(kStart);
  for (int64_t epoch = 13; epoch <= 20; ++epoch) resumed.on_epoch(overfitting_epoch(epoch));
  resumed.on_end({.reason = EndReason::kCompleted, .epochs = 20});
  std::ifstream file(path_);
  std::string line, last;
  while (std::getline(file, line)) last = line;
  EXPECT_THAT(last, HasSubstr(R"("sweet_spot_epoch":6,"overfit_since":7,"verdict":"overfitting")"));
}

TEST_F(ResumedRun, DamagedAndForeignLinesGiveNoCurve) {
  std::ofstream(path_)
      << "{\"event\":\"epoch\",\"epoch\":4000000000,\"train_loss\":1}\n"
      << "{\"event\":\"epoch\",\"epoch\":-1,\"train_loss\":1}\n"
      << "{\"event\":\"epoch\",\"epoch\":2,\"train_loss\":\"x\",\"validation_loss\":0.5}\n"
      << "[\"epoch\", \"train_loss\"]\n{\"event\":\"epoch\",\"train_loss\"";
  const LearningCurves curves = read_learning_curves(path_);
  ASSERT_EQ(curves.train_loss.size(), 2u);
  EXPECT_TRUE(std::isnan(curves.train_loss[0]) && std::isnan(curves.train_loss[1]));
  EXPECT_EQ(curves.validation_loss[1], 0.5);
  EXPECT_THAT(read_learning_curves("/nowhere/metrics.jsonl").train_loss, IsEmpty());
}

}  // namespace
}  // namespace lockstep
