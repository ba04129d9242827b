#include "lockstep/launch/report/run_record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "lockstep/core/base/error.h"
#include "lockstep/launch/report/run_facts.h"
#include "lockstep/launch/run/metrics_file.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

class RunRecordTest : public testing::Test {
 protected:
  void append(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::app) << text;
  }
  RunRecord read() const { return read_run(folder_.path()); }
  ExitCode refusal() const {
    try {
      read();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(folder_.path()), std::string::npos) << error.what();
      return error.code();
    }
    return ExitCode::kOk;
  }

  // Epochs of two updates each, the last one cut off by a crash after its first.
  void write_crashed_run(int64_t whole_epochs) const {
    MetricsFile file(folder_ / "metrics.jsonl", 0, 0);
    file.on_start({.world_size = 2,
                   .hosts = {"a"},
                   .precision = "fp32",
                   .model = "resnet20",
                   .data_digest = "0123abcd"});
    int64_t step = 0;
    for (int64_t epoch = 1; epoch <= whole_epochs + 1; ++epoch) {
      for (int64_t batch = 0; batch < (epoch <= whole_epochs ? 2 : 1); ++batch)
        file.on_step({.epoch = epoch,
                      .step = ++step,
                      .loss = 1.0 / static_cast<double>(step),
                      .learning_rate = 0.1,
                      .images_per_second = 100,
                      .data_wait_seconds = 0.25});
      if (epoch > whole_epochs) break;
      file.on_epoch({.epoch = epoch,
                     .step = step,
                     .train_loss = 2.0 / static_cast<double>(epoch),
                     .train_accuracy = 0.5,
                     .validation_loss = 2.5 / static_cast<double>(epoch),
                     .validation_accuracy = 0.25,
                     .learning_rate = 0.1,
                     .seconds = 3,
                     .images_per_second = 100,
                     .best_epoch = epoch});
    }
  }

  const test::TemporaryFolder folder_;
};

TEST_F(RunRecordTest, ARunThatCrashedInAnEpochKeepsWhatItHasWritten) {
  write_crashed_run(3);
  append("metrics.jsonl", R"({"event":"step","ep)");  // torn
  const RunRecord run = read();
  ASSERT_EQ(run.epochs.size(), 3u);
  EXPECT_EQ(run.steps.size(), 7u);
  EXPECT_EQ(run.last_step, 7);
  EXPECT_EQ(run.end_reason, std::nullopt);
  EXPECT_EQ(run.data_digest, "0123abcd");
  EXPECT_EQ(run.seconds, 9);
  EXPECT_DOUBLE_EQ(run.epochs[1].data_wait_seconds, 0.5);
  EXPECT_DOUBLE_EQ(run.position(7), 3.5);
  ASSERT_EQ(run.problems.size(), 1u);
  EXPECT_NE(run.problems[0].find("1 line"), std::string::npos) << run.problems[0];
  EXPECT_EQ(run_facts(run).ending, "no end recorded");
}

TEST_F(RunRecordTest, ACrashInTheFirstEpochIsShownByUpdates) {
  write_crashed_run(0);
  const RunRecord run = read();
  EXPECT_TRUE(run.epochs.empty());
  EXPECT_EQ(run.steps.size(), 1u);
  EXPECT_EQ(run.position(1), 1);
}

TEST_F(RunRecordTest, LossesThatAreNullAreNotKnown) {
  append("metrics.jsonl",
         R"({"event":"start","model":"m","world_size":1,"hosts":["a"]}
{"event":"step","epoch":1,"step":1,"loss":null,"learning_rate":0.1,"images_per_second":null,"data_wait_seconds":0}
{"event":"epoch","epoch":1,"step":1,"train_loss":null,"train_accuracy":0.1,"validation_loss":null,"validation_accuracy":null,"learning_rate":0.1,"seconds":1,"images_per_second":10,"best_epoch":0,"patience_left":3}
{"event":"end","reason":"diverged","epochs":0,"steps":1,"best_epoch":0,"test_loss":null,"test_accuracy":null,"seconds":1,"peak_resident_bytes":[5,7]}
)");
  const RunRecord run = read();
  EXPECT_TRUE(std::isnan(run.epochs.at(0).train_loss));
  EXPECT_TRUE(std::isnan(run.test_accuracy));
  EXPECT_FALSE(run.has_validation());
  EXPECT_EQ(run.largest_resident_bytes, 7);
  EXPECT_EQ(run_facts(run).tone, "bad");
  EXPECT_TRUE(run.problems.empty());
}

TEST_F(RunRecordTest, EveryReasonToEndIsReadBackFromItsName) {
  for (const EnumRow<EndReason>& row : kEnumRows<EndReason>) {
    std::filesystem::remove(folder_ / "metrics.jsonl");
    MetricsFile(folder_ / "metrics.jsonl", 0, 0).on_end({.reason = row.value});
    EXPECT_EQ(read().end_reason, row.value) << row.name;
    EXPECT_EQ(value_called<EndReason>(row.name), row.value);
    EXPECT_STREQ(name_of(row.value), row.name);
  }
  // Of another version of the program: an end that is not understood is none.
  append("metrics.jsonl",
         R"({"event":"end","reason":"unheard_of","steps":1})"
         "\n");
  EXPECT_EQ(read().end_reason, std::nullopt);
}

TEST_F(RunRecordTest, ARepeatedEpochReplacesWhatFollowedIt) {
  write_crashed_run(3);
  append("metrics.jsonl",
         R"({"event":"epoch","epoch":2,"step":4,"train_loss":9,"seconds":1}
{"event":"step","epoch":3,"step":5,"loss":7,"learning_rate":0.1}
)");
  const RunRecord run = read();
  ASSERT_EQ(run.epochs.size(), 2u);
  EXPECT_EQ(run.epochs[1].train_loss, 9);
  ASSERT_EQ(run.steps.size(), 5u);
  EXPECT_EQ(run.steps[4].loss, 7);
}

TEST_F(RunRecordTest, LongRunsAreThinnedEvenly) {
  MetricsFile file(folder_ / "metrics.jsonl", 0, 0);
  for (int64_t step = 1; step <= 20000; ++step)
    file.on_step({.epoch = 1, .step = step, .loss = static_cast<double>(step), .learning_rate = 1});
  const RunRecord run = read();
  EXPECT_LT(run.steps.size(), 5000u);
  EXPECT_GT(run.steps.size(), 1000u);
  for (const StepRecord& step : run.steps) EXPECT_NEAR(step.loss, step.step, 1e-6);
}

TEST_F(RunRecordTest, WhatIsNoRunIsRefusedByName) {
  EXPECT_EQ(refusal(), ExitCode::kUsage);  // an empty folder
  append("metrics.jsonl", "no run's\nlines\n\xFF\xFE\n");
  EXPECT_EQ(refusal(), ExitCode::kBadData);
  EXPECT_THROW(read_run(folder_ / "missing"), Error);
  try {
    read_run(folder_ / "missing");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
  }
  try {
    read_run(folder_ / "metrics.jsonl");
    ADD_FAILURE() << "a file was taken for a run directory";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
  }
}

TEST_F(RunRecordTest, SideFilesThatCannotBeReadAreToldAndLeftOut) {
  write_crashed_run(1);
  append("config.json", "{");
  append("environment.json", R"({"hosts":["a","b"],"lockstep":"1"})");
  append("test_predictions.json",
         R"({"format_version":1,"class_names":["a"],"confusion":[[1,2]]})");
  append("lr_finder.json", "[]");
  const RunRecord run = read();
  EXPECT_EQ(run.problems.size(), 3u);
  EXPECT_TRUE(run.configuration.empty());
  EXPECT_EQ(run.environment, (Settings{{"hosts", R"(["a","b"])"}, {"lockstep", "\"1\""}}));
  EXPECT_FALSE(run.predictions.has_value());
}

TEST_F(RunRecordTest, ALearningRateTestAloneIsEnough) {
  append("lr_finder.json",
         R"({"start":1e-5,"end":1,"updates":2,"suggestion":0.01,
             "points":[{"learning_rate":1e-5,"loss":2.3,"smoothed_loss":2.3},
                       {"learning_rate":1,"loss":null,"smoothed_loss":4}]})");
  const RunRecord run = read();
  ASSERT_TRUE(run.learning_rate_test.has_value());
  EXPECT_EQ(run.learning_rate_test->points.size(), 2u);
  EXPECT_TRUE(std::isnan(run.learning_rate_test->points[1].loss));
  EXPECT_EQ(run.learning_rate_test->suggestion, 0.01);
}

}  // namespace
}  // namespace lockstep
