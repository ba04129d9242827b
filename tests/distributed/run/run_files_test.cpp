// What a run leaves on disk: when it saves, what a save that fails costs, and what an interruption
// between two files leaves to mend.
#include "lockstep/distributed/run/run_files.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/distributed/comm/preflight.h"
#include "tests/distributed/run/small_run_fixture.h"
#include "tests/temporary_folder.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Does something once an epoch's line has been told: before its save.
struct AfterEpoch final : TrainingObserver {
  AfterEpoch(int64_t epoch, std::function<void()> act) : epoch_(epoch), act_(std::move(act)) {}
  void on_epoch(const EpochReport& report) override {
    if (report.epoch == epoch_) act_();
  }

 private:
  int64_t epoch_;
  std::function<void()> act_;
};

class RunFilesTest : public testing::TestWithParam<int> {
 protected:
  int world_size() const { return GetParam(); }
  fs::path at(const std::string& name) const { return fs::path(folder_.path()) / name; }
  Complete keep() const {
    return [this](int, TrainerOptions& options) { options.run_directory = folder_.path(); };
  }
  Complete resume() const {
    return [this](int rank, TrainerOptions& options) {
      options.run_directory = folder_.path();
      if (rank == 0) options.resume_from = load_newest_checkpoint(folder_.path(), [](auto&&) {});
    };
  }
  std::set<std::string> checkpoints() const {
    std::set<std::string> names;
    for (const std::string& folder : checkpoint_folders(folder_.path()))
      names.insert(fs::path(folder).filename());
    return names;
  }
  std::string best_sha256() const { return sha256_file(at("best.safetensors")); }
  // The best weights that the newest checkpoint names.
  std::string named_best() const {
    const std::string newest = checkpoint_folders(folder_.path()).front();
    return load_checkpoint(newest).best_sha256;
  }
  // What checkpoints cannot be written behind.
  void block() const { std::ofstream(at("checkpoints")) << "in the way"; }
  void unblock() const { fs::remove(at("checkpoints")); }

  const TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Ranks, RunFilesTest, testing::Values(1, 2, 4), [](const auto& info) {
  return fmt::format("{}", info.param);
});

TEST_P(RunFilesTest, ASaveThatFailsIsToldAndTriedAgain) {
  Config config = small_config();
  config.epochs = 3;
  config.early_stopping.min_delta = 1e6;  // the first epoch stays the best
  block();
  AfterEpoch mend(3, [&] { unblock(); });  // the first save is known to have failed by then
  testing::internal::CaptureStderr();
  const SmallRun run = small_run(world_size(), config, keep(), {&mend});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("update 3 is not saved: "));
  EXPECT_EQ(run.ends[0].best_epoch, 1);
  EXPECT_TRUE(checkpoints().contains("00000009"));
  EXPECT_EQ(best_sha256(), named_best());
}

TEST_P(RunFilesTest, OnlyTheLastSaveMustSucceed) {
  block();
  testing::internal::CaptureStderr();
  try {
    small_run(world_size(), small_config(), keep());
    ADD_FAILURE() << "it ended well";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_THAT(error.what(), HasSubstr("checkpoints"));
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("update 3 is not saved: "));
}

TEST_P(RunFilesTest, ShortEpochsMakeNoCheckpointButTheLast) {
  Config config = small_config();
  config.epochs = 3;
  config.checkpoint.epoch_min_seconds = 3600;
  config.early_stopping.min_delta = 1e6;
  AfterEpoch look(3, [&] { EXPECT_FALSE(fs::exists(at("best.safetensors"))); });
  const SmallRun run = small_run(world_size(), config, keep(), {&look});
  EXPECT_EQ(checkpoints(), (std::set<std::string>{"00000009"}));
  EXPECT_EQ(best_sha256(), named_best());

  // The best weights were those of the first epoch, kept in memory.
  Config first = small_config();
  first.epochs = 1;
  EXPECT_EQ(run.ends[0].test_loss, small_run(world_size(), first).ends[0].test_loss);
}

TEST_P(RunFilesTest, MinutesMakeCheckpointsWithinEpochsAndChangeNothing) {
  Config config = small_config();
  config.early_stopping.restore_best = false;
  const SmallRun undisturbed = small_run(world_size(), config);
  config.checkpoint.every_minutes = 1e-9;
  config.checkpoint.keep = 100;
  const SmallRun run = small_run(world_size(), config, keep());
  EXPECT_TRUE(checkpoints().contains("00000001"));
  EXPECT_EQ(run.ends[0].test_loss, undisturbed.ends[0].test_loss);
}

TEST_P(RunFilesTest, AnInterruptionBeforeTheBestWeightsTakeTheirPlaceIsMended) {
  Config config = small_config();
  small_run(world_size(), config, keep());
  const std::string best = best_sha256();
  fs::rename(at("best.safetensors"), at("best.next.safetensors"));
  std::ofstream(at("best.safetensors")) << "those of an epoch before";
  config.epochs = 3;
  with_trainers(world_size(), config, resume(), [&](int rank, Trainer&) {
    if (rank == 0) {
      EXPECT_EQ(best_sha256(), best);
      EXPECT_FALSE(fs::exists(at("best.next.safetensors")));
    }
  });
  // Those that no checkpoint names go.
  std::ofstream(at("best.next.safetensors")) << "of an update that is not saved";
  with_trainers(world_size(), config, resume(), [&](int rank, Trainer&) {
    if (rank == 0) {
      EXPECT_EQ(best_sha256(), best);
      EXPECT_FALSE(fs::exists(at("best.next.safetensors")));
    }
  });
}

}  // namespace
}  // namespace lockstep::test
