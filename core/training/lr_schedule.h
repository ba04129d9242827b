// Learning-rate schedules as pure functions of a position, and the one schedule that has state.
// A new schedule is a function and a row of the table in lr_schedule.cpp.
#pragma once

#include <cstdint>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Where a run stands.
struct SchedulePosition {
  int64_t epoch = 0;   // epochs finished
  int64_t update = 0;  // updates finished
  int64_t updates_per_epoch = 1;
  int64_t epochs = 1;  // of the whole run
};

// The rate for the next update. `base_learning_rate` is the configured one after linear scaling
// with the batch. Each schedule equals the PyTorch scheduler of that name
// (torch.optim.lr_scheduler: StepLR, MultiStepLR, ExponentialLR, PolynomialLR, CosineAnnealingLR,
// CosineAnnealingWarmRestarts, OneCycleLR without momentum cycling), evaluated in closed form. With
// warm-up of w units, the first w units rise linearly from warmup_start_factor * base to base
// (LinearLR) and the schedule proper starts at 0 after them. Past its total length a schedule keeps
// its last value. For plateau: the base rate (PlateauState holds the factor).
double learning_rate(const LrScheduleConfig& schedule,
                     double base_learning_rate,
                     const SchedulePosition& position);

// Whether its rates hang on the number of epochs, since it spans the whole run: polynomial,
// one_cycle and cosine without restarts, unless `total` gives their length. Warm-up alone does not.
bool spans_the_run(LrScheduleConfig schedule);

// The base rate: learning_rate, times batch_size / scale_learning_rate_from_batch if that is set
// (Goyal et al. 2017, section 2.1).
double base_learning_rate(const Config& config);

// torch.optim.lr_scheduler.ReduceLROnPlateau: lowers the rate when more than `patience` epochs
// brought no improvement. Part of the control record, held by checkpoints.
struct PlateauState {
  double factor = 1.0;  // product of all reductions so far
  double best = 0.0;    // meaningful once has_best
  bool has_best = false;
  int64_t bad_epochs = 0;
  int64_t cooldown_left = 0;
};

// The state after an epoch whose watched quantity was `value` (NaN counts as no improvement).
PlateauState plateau_after_epoch(const LrScheduleConfig& schedule,
                                 double base_learning_rate,
                                 PlateauState state,
                                 double value);

}  // namespace lockstep
