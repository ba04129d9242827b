// Rank 0 decides, everyone obeys: the control record.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/early_stopping.h"
#include "lockstep/core/training/lr_schedule.h"
#include "lockstep/distributed/comm/control_channel.h"

namespace lockstep {

// What a run has decided so far; part of every checkpoint.
struct ControlState {
  int64_t epoch = 0;           // epochs finished
  int64_t step = 0;            // updates finished
  int64_t batch_in_epoch = 0;  // batches of the epoch under way that are done
  EarlyStoppingState early_stopping;
  PlateauState plateau;
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
  std::string reason;  // with stop: completed, early_stopping, interrupted, diverged
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
  bool diverged = false;
  int64_t updates_per_epoch = 1;
};

class RunControl {
 public:
  RunControl(const Config& config, ControlChannel& channel, ControlState state);
  const ControlState& state() const { return state_; }
  ControlState& state() { return state_; }
  // Decides on rank 0 and broadcasts: at every epoch's end, and at agreed steps. Collective; every
  // rank gets the same record.
  ControlRecord exchange(const ControlInput& input);
  // Why no further update is due already before the first one of a resumed run ("completed",
  // "early_stopping"); empty: there is work.
  std::string finished_reason() const;
  // The rate of the next update: a pure function of the state, equal on all ranks.
  double next_learning_rate(int64_t updates_per_epoch) const;

 private:
  ControlRecord decide(const ControlInput& input) const;
  const Config& config_;
  ControlChannel& channel_;
  ControlState state_;
};

}  // namespace lockstep
