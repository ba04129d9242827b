// Rank 0 decides, everyone obeys: the control record.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/early_stopping.h"
#include "lockstep/core/training/lr_schedule.h"
#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/run/end_reason.h"

namespace lockstep {

// What a run has decided so far; part of every checkpoint.
struct ControlState {
  int64_t epoch = 0;           // epochs finished
  int64_t step = 0;            // updates finished
  int64_t batch_in_epoch = 0;  // batches of the epoch under way that are done
  EarlyStoppingState early_stopping;
  PlateauState plateau;
  int64_t skipped_in_a_row = 0;       // batches left out just before (optimizer.not_finite)
  int64_t validation_batch_size = 0;  // images a rank evaluates at once; 0 = not chosen yet
  // Sums over the epoch under way.
  double train_loss_sum = 0;
  int64_t train_correct = 0, train_images = 0;
};

struct ControlRecord {
  ControlState state;
  double learning_rate = 0;  // of the next update
  bool is_best = false;      // the epoch just ended is the best so far
  bool save = false;
  bool stop = false;
  EndReason reason = EndReason::kCompleted;  // with stop
  int64_t patience_left = 0;
};

std::string to_json(const ControlState& state);
// Throws Error(kBadData) naming the missing or wrong field.
ControlState control_state_from_json(const std::string& text, const std::string& source);

// What rank 0 knows when a record is due. Only its own copy matters: the others obey the record.
struct ControlInput {
  bool epoch_ended = false;
  double validation_loss = std::numeric_limits<double>::quiet_NaN();
  double validation_accuracy = std::numeric_limits<double>::quiet_NaN();
  bool has_validation = false;
  bool stop_requested = false;  // a signal on any rank, or the wall-time limit
  bool save_requested = false;  // checkpoint.every_minutes have passed
  bool diverged = false;
  bool still_saving = false;  // the last checkpoint is still being written
  double seconds_since_save = std::numeric_limits<double>::infinity();
};

struct RunControlOptions {
  int64_t epochs = 1;             // after so many the run is completed
  int64_t updates_per_epoch = 1;  // of this run's images and batch size
  double base_learning_rate = 0.1;
  LrScheduleConfig schedule;
  EarlyStoppingConfig early_stopping;
  int64_t checkpoint_every_steps = 0;  // besides epochs' ends; 0 = off
  double checkpoint_epoch_min_seconds = 0;
  int64_t limit_steps = 0;  // total updates, resumed ones included; 0 = no limit
};

// Order of calls, as a regular expression: finished_reason (next_learning_rate* exchange)*. Between
// exchanges the caller counts updates in state(), alike on every rank.
class RunControl {
 public:
  // The channel must outlive it. `state`: where the run stands, equal on every rank.
  RunControl(RunControlOptions options, ControlChannel& channel, ControlState state);
  const ControlState& state() const { return state_; }
  ControlState& state() { return state_; }
  // Decides on rank 0 and broadcasts: at every epoch's end, and within one where a checkpoint, a
  // stop or a divergence asks for it. Collective; every rank gets the same record, whose state is
  // state() from then on. REQUIRES: all ranks call it after the same update.
  ControlRecord exchange(const ControlInput& input);
  // Why no further update is due already before the first one of a resumed run (completed, early
  // stopping); nothing: there is work.
  std::optional<EndReason> finished_reason() const;
  // Of the state as it will be when `ahead` further updates of its epoch are counted:
  // whether the limit of updates is reached then;
  bool at_step_limit(int64_t ahead = 0) const;
  // whether a checkpoint within the epoch is due then;
  bool checkpoint_is_due(int64_t ahead = 0) const;
  // the rate of the update after those, a pure function of the state, equal on all ranks.
  double next_learning_rate(int64_t ahead = 0) const;

 private:
  ControlRecord decide(const ControlInput& input) const;
  void end_epoch(const ControlInput& input, ControlRecord& record) const;
  double rate_after(const ControlState& state) const;

  RunControlOptions options_;
  ControlChannel& channel_;
  ControlState state_;
};

}  // namespace lockstep
