#include "lockstep/launch/run/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class RunDirectoryTest : public testing::Test {
 protected:
  // The message with which the directory is refused; empty when it is taken.
  std::string refusal(ExitCode code, const Config& config, bool resume) const {
    try {
      const RunDirectory directory(folder_.string(), config, resume);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return "";
  }

  void make_run(const Config& config) const {
    const RunDirectory directory(folder_.string(), config, false);
    std::ofstream(directory.file("metrics.jsonl")) << "{}\n";
  }

  const test::TemporaryFolder parent_;
  fs::path folder_ = parent_ / "run";  // not made yet
  Config config_;
};

TEST_F(RunDirectoryTest, MakesTheFolderAndKeepsTheConfiguration) {
  config_.seed = 77;
  folder_ /= "with/parents";
  const RunDirectory directory(folder_.string(), config_, false);
  EXPECT_EQ(load_config(directory.file("config.json"), {}).seed, 77);
}

TEST_F(RunDirectoryTest, TakesAnEmptyFolder) {
  fs::create_directories(folder_);
  EXPECT_EQ(refusal(ExitCode::kOk, config_, false), "");
}

TEST_F(RunDirectoryTest, RefusesAFolderThatHoldsARunUnlessResumed) {
  make_run(config_);
  EXPECT_THAT(refusal(ExitCode::kUsage, config_, false), HasSubstr("--resume"));
  EXPECT_EQ(refusal(ExitCode::kOk, config_, true), "");
}

TEST_F(RunDirectoryTest, NamesWhatDiffersOnResuming) {
  make_run(config_);
  config_.optimizer.momentum = 0.5;
  config_.batch_size = 64;
  const std::string message = refusal(ExitCode::kUsage, config_, true);
  EXPECT_THAT(message, HasSubstr("optimizer.momentum: 0.9 != 0.5"));
  EXPECT_THAT(message, HasSubstr("batch_size: 128 != 64"));
  EXPECT_THAT(message, Not(HasSubstr("seed")));
}

TEST_F(RunDirectoryTest, AResumedRunMayChangeHowLongAndWhereItRuns) {
  make_run(config_);
  config_.epochs = 99;
  config_.limits.steps = 5;
  config_.limits.wall_time_seconds = 60;
  config_.logging.every_steps = 10;
  config_.logging.tensorboard = false;
  config_.checkpoint.keep = 7;
  config_.checkpoint.every_steps = 3;
  config_.data.file = "elsewhere.h5";
  config_.data.cache = ImageCache::kStream;
  config_.data.prefetch_batches = 4;
  config_.data.stream_cache_bytes = 1 << 20;
  config_.distributed.backend = TensorBackend::kMpi;
  config_.distributed.timeout_seconds = 10;
  EXPECT_EQ(refusal(ExitCode::kOk, config_, true), "");
}

TEST_F(RunDirectoryTest, OtherKeysOfTheSameGroupsMayNotChange) {
  make_run(config_);
  config_.data.validation_fraction = 0.1;
  config_.distributed.batch_norm = BatchNormMode::kSync;
  const std::string message = refusal(ExitCode::kUsage, config_, true);
  EXPECT_THAT(message, HasSubstr("data.validation_fraction"));
  EXPECT_THAT(message, HasSubstr("distributed.batch_norm"));
}

TEST_F(RunDirectoryTest, ARefusedResumptionLeavesTheConfigurationAlone) {
  make_run(config_);
  Config other = config_;
  other.seed = 5;
  EXPECT_THAT(refusal(ExitCode::kUsage, other, true), HasSubstr("seed: 1 != 5"));
  EXPECT_EQ(load_config((folder_ / "config.json").string(), {}).seed, 1);
}

TEST_F(RunDirectoryTest, ACopyOfTheCheckpointsAloneGoesOnWithTheirConfiguration) {
  CheckpointContents contents;
  contents.config_json = config_to_json(config_);
  save_checkpoint(folder_.string(), contents, 1);
  Config other = config_;
  other.seed = 5;
  EXPECT_THAT(refusal(ExitCode::kUsage, other, true), HasSubstr("seed: 1 != 5"));
  EXPECT_FALSE(fs::exists(folder_ / "config.json"));
  EXPECT_EQ(refusal(ExitCode::kOk, config_, true), "");
}

TEST_F(RunDirectoryTest, TwoJobsCannotShareIt) {
  const RunDirectory first(folder_.string(), config_, false);
  const std::string message = refusal(ExitCode::kUsage, config_, true);
  EXPECT_THAT(message, HasSubstr("another job"));
  EXPECT_THAT(message, HasSubstr("process " + std::to_string(getpid()) + " on "));
}

TEST_F(RunDirectoryTest, TheLockOfAKilledJobIsTakenOver) {
  const pid_t job = fork();
  if (job == 0) {
    const RunDirectory directory(folder_.string(), config_, false);
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(job, &status, 0), job);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_TRUE(fs::exists(folder_ / ".lock"));
  EXPECT_EQ(refusal(ExitCode::kOk, config_, true), "");
}

TEST_F(RunDirectoryTest, AFileInItsPlaceIsAnInputOutputError) {
  std::ofstream(folder_) << "a file";
  EXPECT_THAT(refusal(ExitCode::kInputOutput, config_, false), HasSubstr(folder_.string()));
}

TEST_F(RunDirectoryTest, AFolderThatCannotBeWrittenToIsAnInputOutputError) {
  folder_ = "/proc/self/lockstep-run";
  EXPECT_THAT(refusal(ExitCode::kInputOutput, config_, false),
              HasSubstr("/proc/self/lockstep-run"));
}

TEST_F(RunDirectoryTest, LeavesFilesAloneThatNoRunWrote) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "log.txt") << "the job's own output";
  std::ofstream(folder_ / "config.json") << "{}";
  EXPECT_THAT(refusal(ExitCode::kUsage, config_, false), HasSubstr("config.json"));
  EXPECT_EQ(fs::file_size(folder_ / "config.json"), 2u);
  EXPECT_FALSE(fs::exists(folder_ / ".lock"));
  fs::remove(folder_ / "config.json");
  EXPECT_EQ(refusal(ExitCode::kOk, config_, false), "");
  // Started again: these are a run's own.
  EXPECT_EQ(refusal(ExitCode::kOk, config_, false), "");
}

// In a working folder of its own.
class ClaimedRunDirectory : public testing::Test {
 protected:
  void SetUp() override { fs::current_path(parent_.path()); }
  void TearDown() override { fs::current_path(before_); }

  const test::TemporaryFolder parent_;
  const fs::path before_ = fs::current_path();
};

TEST_F(ClaimedRunDirectory, NamesTheModelAndTheTime) {
  EXPECT_THAT(claim_run_directory("resnet20"),
              testing::MatchesRegex("runs/resnet20-[0-9]+-[0-9]+"));
}

TEST_F(ClaimedRunDirectory, IsEachJobsOwnInTheSameSecond) {
  constexpr int kJobs = 8;
  std::vector<std::string> claimed(kJobs);
  std::vector<std::thread> jobs;
  for (std::string& path : claimed)
    jobs.emplace_back([&path] { path = claim_run_directory("resnet20"); });
  for (std::thread& job : jobs) job.join();
  EXPECT_EQ(std::set<std::string>(claimed.begin(), claimed.end()).size(), claimed.size());
  for (const std::string& path : claimed) EXPECT_TRUE(fs::is_empty(path));
}

TEST_F(ClaimedRunDirectory, CountsOnWhereTheNameIsTaken) {
  // Whatever second it is when the name is chosen.
  const auto names = [] {
    std::set<std::string> found;
    const std::time_t now = std::time(nullptr);
    for (std::time_t second = now; second < now + 60; ++second) {
      char text[32];
      std::tm local{};
      std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", localtime_r(&second, &local));
      found.insert(std::string("runs/vgg11-") + text);
    }
    return found;
  }();
  for (const std::string& name : names) fs::create_directories(name);
  const std::string second = claim_run_directory("vgg11"), third = claim_run_directory("vgg11");
  EXPECT_THAT(second, testing::MatchesRegex("runs/vgg11-[0-9]+-[0-9]+-2"));
  EXPECT_THAT(third, testing::MatchesRegex("runs/vgg11-[0-9]+-[0-9]+-[23]"));
  EXPECT_NE(second, third);
}

TEST_F(ClaimedRunDirectory, ThatCannotBeMadeIsAnInputOutputError) {
  std::ofstream("runs") << "a file";
  try {
    claim_run_directory("resnet20");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_THAT(error.what(), HasSubstr("runs/resnet20-"));
  }
}

}  // namespace
}  // namespace lockstep
