#include "lockstep/launch/run/metrics_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "lockstep/core/base/error.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using nlohmann::ordered_json;

class MetricsFileTest : public testing::Test {
 protected:
  std::vector<ordered_json> lines() const {
    std::ifstream file(path_);
    std::vector<ordered_json> all;
    for (std::string line; std::getline(file, line);) all.push_back(ordered_json::parse(line));
    return all;
  }

  // Two epochs of two updates, the second cut short in the middle by a limit, and the end.
  void write_limited_run() const {
    MetricsFile file(path_, 0, 0);
    file.on_start({});
    file.on_step({.epoch = 1, .step = 1});
    file.on_step({.epoch = 1, .step = 2});
    file.on_epoch({.epoch = 1, .step = 2});
    file.on_step({.epoch = 2, .step = 3});
    file.on_epoch({.epoch = 2, .step = 3});
    file.on_end({.reason = EndReason::kCompleted, .epochs = 1, .steps = 3});
  }

  // "start", "step 1", "epoch 1", …
  std::vector<std::string> summary() const {
    std::vector<std::string> all;
    for (const ordered_json& line : lines()) {
      const std::string event = line["event"];
      all.push_back(event == "step" || event == "epoch" ? event + " " + line[event].dump() : event);
    }
    return all;
  }

  const test::TemporaryFolder folder_;
  const std::string path_ = folder_ / "metrics.jsonl";
};

TEST_F(MetricsFileTest, EveryLineIsAnObjectThatBeginsWithItsEvent) {
  write_limited_run();
  for (const ordered_json& line : lines()) EXPECT_EQ(line.begin().key(), "event");
  EXPECT_EQ(summary(),
            (std::vector<std::string>{
                "start", "step 1", "step 2", "epoch 1", "step 3", "epoch 2", "end"}));
}

TEST_F(MetricsFileTest, NumbersThatAreNotFiniteAreNull) {
  MetricsFile file(path_, 0, 0);
  file.on_step({.epoch = 1,
                .step = 1,
                .loss = std::numeric_limits<double>::quiet_NaN(),
                .learning_rate = 0.1,
                .images_per_second = std::numeric_limits<double>::infinity()});
  const ordered_json line = lines().at(0);
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["images_per_second"].is_null());
  EXPECT_EQ(line["learning_rate"], 0.1);
}

TEST_F(MetricsFileTest, QuantitiesThatWereNotMeasuredAreNull) {
  MetricsFile file(path_, 0, 0);
  file.on_epoch({.epoch = 1, .step = 1});
  file.on_end({.reason = EndReason::kInterrupted, .peak_resident_bytes = {5, 7}});
  EXPECT_TRUE(lines().at(0)["validation_loss"].is_null());
  EXPECT_TRUE(lines().at(1)["test_accuracy"].is_null());
  EXPECT_EQ(lines().at(1)["peak_resident_bytes"], ordered_json({5, 7}));
}

TEST_F(MetricsFileTest, EachLineIsInTheFileAtOnce) {
  MetricsFile file(path_, 0, 0);
  file.on_start({});
  EXPECT_EQ(lines().size(), 1u);
}

TEST_F(MetricsFileTest, ResumingDropsTheLinesOfLaterUpdatesAndTheEnd) {
  write_limited_run();
  const MetricsFile resumed(path_, 2, 1);
  EXPECT_EQ(summary(), (std::vector<std::string>{"start", "step 1", "step 2", "epoch 1"}));
}

TEST_F(MetricsFileTest, ResumingWithinAnEpochDropsTheLineOfItsCutOffEnd) {
  write_limited_run();
  const MetricsFile resumed(path_, 3, 1);
  EXPECT_EQ(summary(),
            (std::vector<std::string>{"start", "step 1", "step 2", "epoch 1", "step 3"}));
}

TEST_F(MetricsFileTest, ARunThatStartsAfreshKeepsNothing) {
  write_limited_run();
  const MetricsFile fresh(path_, 0, 0);
  EXPECT_TRUE(lines().empty());
}

TEST_F(MetricsFileTest, TornAndForeignLinesAreDroppedOnResuming) {
  write_limited_run();
  std::ofstream(path_, std::ios::app)
      << "[1, 2]\n{\"event\": 5}\n{\"event\":\"step\",\"step\":\"x\"}\n"
      << "{\"event\":\"step\",\"ep";
  MetricsFile resumed(path_, 2, 1);
  resumed.on_step({.epoch = 2, .step = 3});
  EXPECT_EQ(summary(),
            (std::vector<std::string>{"start", "step 1", "step 2", "epoch 1", "step 3"}));
}

TEST_F(MetricsFileTest, AFileThatCannotBeMadeIsAnInputOutputError) {
  try {
    const MetricsFile file(folder_ / "missing/metrics.jsonl", 0, 0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_NE(std::string(error.what()).find("missing"), std::string::npos);
  }
}

// One owner a file.
static_assert(!std::is_copy_constructible_v<MetricsFile> &&
              !std::is_copy_assignable_v<MetricsFile>);

TEST_F(MetricsFileTest, ALineThatCannotBeWrittenDoesNotEndTheRun) {
  MetricsFile file(path_, 0, 0);
  file.on_start({});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit full = before;
  full.rlim_cur = std::filesystem::file_size(path_) + 10;  // a part of the line
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  testing::internal::CaptureStderr();
  file.on_step({.epoch = 1, .step = 1});
  file.on_step({.epoch = 1, .step = 2});
  const std::string warning = testing::internal::GetCapturedStderr();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(summary(), (std::vector<std::string>{"start"}));
  EXPECT_NE(warning.find(path_), std::string::npos) << warning;
  EXPECT_EQ(warning.find(path_), warning.rfind(path_)) << "said more than once: " << warning;
}

}  // namespace
}  // namespace lockstep
