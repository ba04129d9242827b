#include "lockstep/launch/run/resumed_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/launch/run/run_directory.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

class ResumedSchedule : public testing::Test {
 protected:
  static Config config(const std::vector<std::string>& assignments) {
    return parse_config("", assignments, "--set");
  }

  // A run of epochs of ten updates that was saved after `epochs_done`.
  void save(int64_t epochs_done) const {
    CheckpointContents contents;
    contents.config_json = "{}";
    contents.state.epoch = epochs_done;
    contents.state.step = 10 * epochs_done;
    save_checkpoint(folder_.path(), contents, 1);
  }

  std::string refusal(std::vector<std::string> assignments, int64_t epochs) const {
    const Config before = config(assignments);
    assignments.push_back("epochs=" + std::to_string(epochs));
    try {
      refuse_other_epochs(folder_.path(), before, config(assignments));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  }

  const test::TemporaryFolder folder_;
};

TEST_F(ResumedSchedule, SpanningTheRunRefusesOtherEpochsAndTellsTheJump) {
  save(15);
  // Half of 30 epochs: half the rate. A quarter of 60: (1 + cos(pi / 4)) / 2 of it.
  const std::string message = refusal({"lr_schedule.name=cosine"}, 60);
  EXPECT_THAT(message, HasSubstr("epochs=60"));
  EXPECT_THAT(message, HasSubstr("the next update (151) would jump from 0.05 to 0.08536"));
  EXPECT_THAT(message, HasSubstr("limits.steps"));
  EXPECT_THAT(message, HasSubstr("lr_schedule.total"));
  EXPECT_THAT(message, HasSubstr("model.weights=" + folder_.path() + "/last.safetensors"));
  EXPECT_THAT(refusal({"lr_schedule.name=polynomial"}, 20), HasSubstr("from 0.05 to 0.025"));
  EXPECT_THAT(refusal({"lr_schedule.name=one_cycle"}, 31), HasSubstr("would jump"));
  EXPECT_THAT(refusal({"lr_schedule.name=cosine", "lr_schedule.step_every=update"}, 60),
              HasSubstr("from 0.05 to 0.08536"));
}

TEST_F(ResumedSchedule, WarmUpHidesTheJumpButNotTheOtherCurve) {
  save(2);
  EXPECT_THAT(refusal({"lr_schedule.name=cosine", "lr_schedule.warmup=5"}, 60),
              HasSubstr("from update 21 on the rate would leave the curve"));
}

TEST_F(ResumedSchedule, OthersMayGoOnForMoreEpochs) {
  save(15);
  for (const char* name : {"constant", "step", "exponential", "plateau"})
    EXPECT_EQ(refusal({std::string("lr_schedule.name=") + name}, 60), "") << name;
  EXPECT_EQ(refusal({"lr_schedule.name=multi_step", "lr_schedule.milestones=[5]"}, 60), "");
  EXPECT_EQ(refusal({"lr_schedule.name=constant", "lr_schedule.warmup=5"}, 60), "");
  EXPECT_EQ(refusal({"lr_schedule.name=cosine", "lr_schedule.restart_period=5"}, 60), "");
  for (const char* name : {"cosine", "polynomial", "one_cycle"})
    EXPECT_EQ(refusal({std::string("lr_schedule.name=") + name, "lr_schedule.total=40"}, 60), "");
}

TEST_F(ResumedSchedule, TheSameEpochsOrNothingSavedIsNoMatter) {
  EXPECT_EQ(refusal({"lr_schedule.name=cosine"}, 60), "");
  save(15);
  EXPECT_EQ(refusal({"lr_schedule.name=cosine"}, 30), "");
}

TEST_F(ResumedSchedule, IsAskedWhenARunDirectoryIsTakenAndLeavesItsConfigurationAlone) {
  Config cosine = config({"lr_schedule.name=cosine"});
  { const RunDirectory directory(folder_.path(), cosine, false); }
  save(1);
  cosine.epochs = 60;
  EXPECT_THROW(RunDirectory(folder_.path(), cosine, true), Error);
  EXPECT_EQ(load_config(folder_ / "config.json", {}).epochs, 30);
}

}  // namespace
}  // namespace lockstep
