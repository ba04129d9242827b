#include "lockstep/launch/run/resumed_schedule.h"

#include <fmt/format.h>

#include <filesystem>

#include "lockstep/core/base/error.h"
#include "lockstep/core/training/lr_schedule.h"
#include "lockstep/distributed/run/checkpoint.h"

namespace lockstep {
namespace {

// Of the next update after `state`.
double next_rate(const Config& config, const ControlState& state, int64_t updates_per_epoch) {
  return learning_rate(config.lr_schedule,
                       base_learning_rate(config),
                       {.epoch = state.epoch,
                        .update = state.step,
                        .updates_per_epoch = updates_per_epoch,
                        .epochs = config.epochs});
}

std::string what_would_happen(const Config& before, const Config& now, const ControlState& state) {
  const int64_t next = state.step + 1;
  if (state.epoch > 0) {
    const int64_t updates_per_epoch = (state.step - state.batch_in_epoch) / state.epoch;
    const double planned = next_rate(before, state, updates_per_epoch);
    const double found = next_rate(now, state, updates_per_epoch);
    if (planned != found) {
      return fmt::format("the rate of the next update ({}) would jump from {:.4g} to {:.4g}",
                         next,
                         planned,
                         found);
    }
  }
  return fmt::format("from update {} on the rate would leave the curve of the updates before",
                     next);
}

}  // namespace

void refuse_other_epochs(const std::string& run_directory,
                         const Config& before,
                         const Config& now) {
  if (before.epochs == now.epochs || !spans_the_run(before.lr_schedule)) return;
  const auto state = newest_checkpoint_state(run_directory);
  if (!state) return;  // it starts afresh
  const std::string last = (std::filesystem::path(run_directory) / "last.safetensors").string();
  throw_error(
      ExitCode::kUsage,
      "cannot resume {} with epochs={}: it was started with epochs={}, and its learning "
      "rates span the whole run (lr_schedule.name={}), so {}. Resume with epochs={} "
      "(limits.steps ends a run earlier), or train on in a new --run-dir from "
      "model.weights={}. Runs that are to take more epochs later start with a schedule "
      "that does not span the run (constant, step, multi_step, exponential, plateau, cosine "
      "with restart_period) or with its length in lr_schedule.total",
      run_directory,
      now.epochs,
      before.epochs,
      name_of(before.lr_schedule.name),
      what_would_happen(before, now, *state),
      before.epochs,
      last);
}

}  // namespace lockstep
