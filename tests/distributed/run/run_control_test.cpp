#include "lockstep/distributed/run/run_control.h"

#include <gtest/gtest.h>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/run/run_options.h"
#include "tests/distributed/comm/in_process_fixture.h"

namespace lockstep::test {
namespace {

ControlInput epoch_end(double loss) {
  ControlInput input;
  input.epoch_ended = input.has_validation = true;
  input.validation_loss = loss;
  return input;
}

TEST(RunControl, EveryRankObeysRankZerosNumbers) {
  Config config;
  config.early_stopping.patience = 2;
  for (const int size : {1, 2, 3, 4, 7}) {
    run_in_process(size, [&](InProcessRank& rank) {
      RunControl control(make_run_control_options(config, 10), *rank.control, {});
      // The other ranks see numbers that would decide otherwise.
      const double lie = rank.rank == 0 ? 0.0 : -1000.0 * rank.rank;
      ControlRecord record;
      for (double loss : {1.0, 0.5, 0.6, 0.7, 0.8}) {
        record =
            control.exchange(epoch_end(loss + lie * static_cast<double>(control.state().epoch)));
        if (record.stop) break;
      }
      EXPECT_EQ(record.reason, EndReason::kEarlyStopping);
      EXPECT_EQ(record.state.epoch, 4);
      EXPECT_EQ(record.state.early_stopping.best_epoch, 2);
    });
  }
}

TEST(RunControl, LooksAheadAsIfTheUpdatesWereCounted) {
  Config config;
  config.epochs = 2;
  config.lr_schedule.name = "cosine";
  config.lr_schedule.step_every = ScheduleUnit::kUpdate;
  config.checkpoint.every_steps = 4;
  config.limits.steps = 7;
  run_in_process(1, [&](InProcessRank& alone) {
    RunControl control(make_run_control_options(config, 10), *alone.control, {});
    for (int64_t ahead = 0; ahead < 9; ++ahead) {
      ControlState counted;
      counted.step = ahead;
      const RunControl then(make_run_control_options(config, 10), *alone.control, counted);
      EXPECT_EQ(control.next_learning_rate(ahead), then.next_learning_rate());
      EXPECT_EQ(control.at_step_limit(ahead), ahead >= 7);
      EXPECT_EQ(control.checkpoint_is_due(ahead), ahead % 4 == 0);
    }
    EXPECT_NE(control.next_learning_rate(5), control.next_learning_rate());
  });
}

TEST(RunControl, StateSurvivesItsJson) {
  ControlState state;
  state.epoch = 3;
  state.step = 1234;
  state.batch_in_epoch = 17;
  state.early_stopping = {.best = 0.1 + 0.2, .best_epoch = 2, .epochs_without_improvement = 1};
  state.plateau = {
      .factor = 1.0 / 3.0, .best = 1e-300, .has_best = true, .bad_epochs = 4, .cooldown_left = 5};
  state.train_loss_sum = 12345.678901234567;
  state.train_correct = 99;
  state.train_images = 100;
  state.validation_batch_size = 2048;
  state.skipped_in_a_row = 2;
  const ControlState back = control_state_from_json(to_json(state), "test");
  EXPECT_EQ(back.train_loss_sum, state.train_loss_sum);
  EXPECT_EQ(back.validation_batch_size, state.validation_batch_size);
  EXPECT_EQ(back.skipped_in_a_row, 2);
  EXPECT_EQ(back.plateau.factor, state.plateau.factor);
  EXPECT_EQ(back.plateau.best, state.plateau.best);
  EXPECT_EQ(back.early_stopping.best, state.early_stopping.best);
  EXPECT_EQ(back.batch_in_epoch, 17);
  EXPECT_THROW(control_state_from_json("{\"epoch\": 1}", "test"), Error);
}

TEST(RunControl, DivergenceStopsWithoutSaving) {
  Config config;
  run_in_process(2, [&](InProcessRank& rank) {
    RunControl control(make_run_control_options(config, 10), *rank.control, {});
    ControlInput input;
    input.diverged = true;
    const ControlRecord record = control.exchange(input);
    EXPECT_TRUE(record.stop);
    EXPECT_FALSE(record.save);
    EXPECT_EQ(record.reason, EndReason::kDiverged);
  });
}

TEST(RunControl, SavesAtEpochsEndsAndWithinThemWhereTheDiskHasTime) {
  Config config;
  config.checkpoint.every_steps = 4;
  config.checkpoint.epoch_min_seconds = 60;
  run_in_process(1, [&](InProcessRank& rank) {
    const auto saves = [&](int64_t step, const ControlInput& input) {
      ControlState state;
      state.step = step;
      RunControl control(make_run_control_options(config, 10), *rank.control, state);
      return control.exchange(input).save;
    };
    EXPECT_TRUE(saves(8, {}));
    EXPECT_FALSE(saves(8, {.still_saving = true}));
    EXPECT_FALSE(saves(9, {}));
    EXPECT_TRUE(saves(9, {.save_requested = true}));
    EXPECT_FALSE(saves(9, {.save_requested = true, .still_saving = true}));
    EXPECT_TRUE(saves(9, {.stop_requested = true, .still_saving = true}));
    EXPECT_TRUE(saves(10, {.epoch_ended = true, .still_saving = true}));
    EXPECT_TRUE(saves(10, {.epoch_ended = true, .seconds_since_save = 60}));
    EXPECT_FALSE(saves(10, {.epoch_ended = true, .seconds_since_save = 59}));
    config.epochs = 1;  // the last one
    EXPECT_TRUE(saves(10, {.epoch_ended = true, .seconds_since_save = 59}));
  });
}

TEST(RunControl, StepLimitCountsAsCompleted) {
  Config config;
  config.limits.steps = 5;
  run_in_process(1, [&](InProcessRank& rank) {
    ControlState state;
    state.step = 5;
    RunControl control(make_run_control_options(config, 10), *rank.control, state);
    EXPECT_EQ(control.finished_reason(), EndReason::kCompleted);
    const ControlRecord record = control.exchange({});
    EXPECT_TRUE(record.stop && record.save);
    EXPECT_EQ(record.reason, EndReason::kCompleted);
  });
}

}  // namespace
}  // namespace lockstep::test
