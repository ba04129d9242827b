#include "lockstep/core/training/verdict_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "lockstep/core/config/config_io.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr Verdict kVerdicts[] = {Verdict::kTooShort,
                                 Verdict::kAverageLags,
                                 Verdict::kUnderfit,
                                 Verdict::kStillImproving,
                                 Verdict::kGood,
                                 Verdict::kOverfitting,
                                 Verdict::kUnstable};

Config config(const std::vector<std::string>& assignments = {}) {
  return parse_config("", assignments, "--set");
}

TEST(VerdictText, NamesOnlyKeysThatExist) {
  std::string keys;
  for (const ConfigKeyHelp& key : config_keys()) keys += key.key + "\n";
  for (const Verdict verdict : kVerdicts) {
    for (double gap : {0.0, 10.0}) {
      OverfittingAnalysis a{.final_gap = gap, .final_validation_loss = 1, .overfit_since = 7};
      a.verdict = verdict;
      const std::string text =
          verdict_text(a, config({"optimizer.ema_decay=0.9"}), {.epochs = 3, .updates = 9}) + "\n" +
          overfitting_warning(a, 9);
      EXPECT_THAT(text, HasSubstr("\nto "));
      const std::regex key_like("[a-z_]+\\.[a-z_]+(\\.[a-z_]+)?");
      for (std::sregex_iterator it(text.begin(), text.end(), key_like), end; it != end; ++it)
        EXPECT_THAT(keys, HasSubstr(it->str()));
    }
  }
}

TEST(VerdictText, TellsSinceWhenARunOverfits) {
  const OverfittingAnalysis a{
      .sweet_spot_epoch = 6, .overfit_since = 7, .verdict = Verdict::kOverfitting};
  EXPECT_THAT(verdict_text(a, {}, {}), HasSubstr("overfitting since epoch 7"));
  EXPECT_THAT(overfitting_warning(a, 12),
              AllOf(HasSubstr("since epoch 7"), HasSubstr("after epoch 12"), HasSubstr("epoch 6")));
}

TEST(VerdictText, SaysWhenALossEndedHigher) {
  OverfittingAnalysis a{.sweet_spot_loss = 1.0, .final_validation_loss = 1.1};
  a.verdict = Verdict::kGood;
  EXPECT_THAT(verdict_text(a, {}, {}), HasSubstr("ended 0.1000 above that"));
  a.final_validation_loss = 1.01;
  EXPECT_THAT(verdict_text(a, {}, {}), HasSubstr("has not risen since"));
}

// What a run whose loss still fell at its end is told.
std::string advice(const std::vector<std::string>& assignments, const RunEnding& ending) {
  return verdict_text({.verdict = Verdict::kStillImproving}, config(assignments), ending);
}

TEST(VerdictText, MoreEpochsComeByResumingUnlessTheRatesSpanTheRun) {
  const RunEnding ending{.epochs = 20, .updates = 200, .directory = "runs/a"};
  EXPECT_THAT(advice({"epochs=20"}, ending),
              HasSubstr("to go on: --run-dir runs/a --resume --set epochs=40"));
  EXPECT_THAT(advice({"epochs=20", "lr_schedule.name=cosine"}, ending),
              AllOf(HasSubstr("a new run with --set epochs=40"),
                    HasSubstr("--resume keeps epochs=20"),
                    Not(HasSubstr("--run-dir"))));
  EXPECT_THAT(advice({"epochs=20", "lr_schedule.name=cosine", "lr_schedule.total=60"}, ending),
              HasSubstr("--resume --set epochs=40"));
}

TEST(VerdictText, WhatEndedTheRunIsWhatIsRaised) {
  const RunEnding early{.stopped_early = true, .epochs = 9, .updates = 90, .directory = "a b"};
  EXPECT_THAT(advice({"early_stopping.patience=3", "lr_schedule.name=cosine"}, early),
              HasSubstr("--run-dir 'a b' --resume --set early_stopping.patience=6"));
  const RunEnding limited{.epochs = 9, .updates = 90, .directory = "a"};
  EXPECT_THAT(advice({"epochs=20", "limits.steps=90"}, limited),
              HasSubstr("--run-dir a --resume --set limits.steps=0"));
}

TEST(VerdictText, AShortRunIsToldHowToBecomeLongEnough) {
  const OverfittingAnalysis a{.epochs = 1, .verdict = Verdict::kTooShort};
  EXPECT_THAT(verdict_text(a, config({"epochs=1"}), {.epochs = 1, .directory = "a"}),
              HasSubstr("--run-dir a --resume --set epochs=5"));
}

TEST(VerdictText, ALaggingAverageIsNotBlamedOnTooFewEpochs) {
  const OverfittingAnalysis a{.verdict = Verdict::kAverageLags};
  const std::string text =
      verdict_text(a, config({"optimizer.ema_decay=0.9999"}), {.epochs = 6, .updates = 114});
  // 0.9999^114 = 0.98866; a tenth of 114 updates is the memory of 1 - 1 / 11.4 = 0.912.
  EXPECT_THAT(text, AllOf(HasSubstr("98.9 %"), HasSubstr("optimizer.ema_decay=0.91 or less")));
  EXPECT_THAT(text, Not(HasSubstr("epochs")));
}

TEST(VerdictText, AgainstUnderfittingOnlyWhatIsOnIsLowered) {
  const OverfittingAnalysis a{.verdict = Verdict::kUnderfit};
  EXPECT_THAT(verdict_text(a, {}, {}), HasSubstr("less augmentation"));
  EXPECT_THAT(verdict_text(a,
                           config({"data.augmentation.flip=false",
                                   "data.augmentation.pad_crop=0",
                                   "optimizer.weight_decay=0",
                                   "model.dropout=0"}),
                           {}),
              AllOf(Not(HasSubstr("augmentation")),
                    Not(HasSubstr("weight_decay")),
                    Not(HasSubstr("dropout"))));
}

}  // namespace
}  // namespace lockstep
