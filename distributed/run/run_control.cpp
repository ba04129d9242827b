#include "lockstep/distributed/run/run_control.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

using nlohmann::json;

json state_json(const ControlState& state) {
  const EarlyStoppingState& stopping = state.early_stopping;
  const PlateauState& plateau = state.plateau;
  return {{"epoch", state.epoch},
          {"step", state.step},
          {"batch_in_epoch", state.batch_in_epoch},
          {"train_loss_sum", state.train_loss_sum},
          {"train_correct", state.train_correct},
          {"train_images", state.train_images},
          {"skipped_in_a_row", state.skipped_in_a_row},
          {"validation_batch_size", state.validation_batch_size},
          {"early_stopping",
           {{"best", stopping.best},
            {"best_epoch", stopping.best_epoch},
            {"epochs_without_improvement", stopping.epochs_without_improvement}}},
          {"plateau",
           {{"factor", plateau.factor},
            {"best", plateau.best},
            {"has_best", plateau.has_best},
            {"bad_epochs", plateau.bad_epochs},
            {"cooldown_left", plateau.cooldown_left}}}};
}

ControlState state_from(const json& object) {
  ControlState state;
  object.at("epoch").get_to(state.epoch);
  object.at("step").get_to(state.step);
  object.at("batch_in_epoch").get_to(state.batch_in_epoch);
  object.at("train_loss_sum").get_to(state.train_loss_sum);
  object.at("train_correct").get_to(state.train_correct);
  object.at("train_images").get_to(state.train_images);
  // Older checkpoints lack them.
  if (object.contains("skipped_in_a_row"))
    object.at("skipped_in_a_row").get_to(state.skipped_in_a_row);
  if (object.contains("validation_batch_size"))
    object.at("validation_batch_size").get_to(state.validation_batch_size);
  const json& stopping = object.at("early_stopping");
  stopping.at("best").get_to(state.early_stopping.best);
  stopping.at("best_epoch").get_to(state.early_stopping.best_epoch);
  stopping.at("epochs_without_improvement").get_to(state.early_stopping.epochs_without_improvement);
  const json& plateau = object.at("plateau");
  plateau.at("factor").get_to(state.plateau.factor);
  plateau.at("best").get_to(state.plateau.best);
  plateau.at("has_best").get_to(state.plateau.has_best);
  plateau.at("bad_epochs").get_to(state.plateau.bad_epochs);
  plateau.at("cooldown_left").get_to(state.plateau.cooldown_left);
  return state;
}

std::string record_text(const ControlRecord& record) {
  return json{{"state", state_json(record.state)},
              {"learning_rate", record.learning_rate},
              {"is_best", record.is_best},
              {"save", record.save},
              {"stop", record.stop},
              {"reason", name_of(record.reason)},
              {"patience_left", record.patience_left}}
      .dump();
}

ControlRecord record_from(const std::string& text) {
  const json object = json::parse(text);
  ControlRecord record;
  record.state = state_from(object.at("state"));
  object.at("learning_rate").get_to(record.learning_rate);
  object.at("is_best").get_to(record.is_best);
  object.at("save").get_to(record.save);
  object.at("stop").get_to(record.stop);
  record.reason = value_called<EndReason>(object.at("reason").get<std::string>());
  object.at("patience_left").get_to(record.patience_left);
  return record;
}

double watched(const Choice<WatchedQuantity>& quantity, const ControlInput& input) {
  return quantity->of({.loss = input.validation_loss, .accuracy = input.validation_accuracy});
}

}  // namespace

std::string to_json(const ControlState& state) { return state_json(state).dump(2) + "\n"; }

ControlState control_state_from_json(const std::string& text, const std::string& source) {
  try {
    return state_from(json::parse(text));
  } catch (const json::exception& error) {
    throw_error(ExitCode::kBadData, "{} is not a run state: {}", source, error.what());
  }
}

RunControl::RunControl(RunControlOptions options, ControlChannel& channel, ControlState state)
    : options_(std::move(options)), channel_(channel), state_(state) {}

double RunControl::rate_after(const ControlState& state) const {
  const SchedulePosition position{.epoch = state.epoch,
                                  .update = state.step,
                                  .updates_per_epoch = options_.updates_per_epoch,
                                  .epochs = options_.epochs};
  return learning_rate(options_.schedule, options_.base_learning_rate, position) *
         state.plateau.factor;
}

bool RunControl::at_step_limit(int64_t ahead) const {
  return options_.limit_steps > 0 && state_.step + ahead >= options_.limit_steps;
}

bool RunControl::checkpoint_is_due(int64_t ahead) const {
  const int64_t every = options_.checkpoint_every_steps;
  return every > 0 && (state_.step + ahead) % every == 0;
}

double RunControl::next_learning_rate(int64_t ahead) const {
  ControlState then = state_;
  then.step += ahead;
  return rate_after(then);
}

std::optional<EndReason> RunControl::finished_reason() const {
  if (state_.epoch >= options_.epochs || at_step_limit()) return EndReason::kCompleted;
  const EarlyStoppingConfig& stopping = options_.early_stopping;
  const bool out_of_patience =
      state_.early_stopping.epochs_without_improvement >= std::max<int64_t>(1, stopping.patience);
  if (stopping.enabled && out_of_patience && state_.batch_in_epoch == 0)
    return EndReason::kEarlyStopping;
  return std::nullopt;
}

void RunControl::end_epoch(const ControlInput& input, ControlRecord& record) const {
  ControlState& next = record.state;
  ++next.epoch;
  next.batch_in_epoch = 0;
  next.train_loss_sum = 0;
  next.train_correct = next.train_images = 0;
  record.save = input.seconds_since_save >= options_.checkpoint_epoch_min_seconds;
  if (input.has_validation) {
    const auto decision =
        early_stopping_after_epoch(options_.early_stopping,
                                   next.early_stopping,
                                   next.epoch,
                                   watched(options_.early_stopping.quantity, input));
    next.early_stopping = decision.state;
    record.is_best = decision.improved;
    record.patience_left = decision.patience_left;
    if (decision.stop) {
      record.stop = true;
      record.reason = EndReason::kEarlyStopping;
    }
    const LrScheduleConfig& schedule = options_.schedule;
    if (schedule.name->after_epoch != nullptr) {
      next.plateau = schedule.name->after_epoch(schedule,
                                                options_.base_learning_rate,
                                                next.plateau,
                                                watched(schedule.plateau_quantity, input));
    }
  } else {
    // Nothing is watched: the newest weights are the best there are.
    record.is_best = true;
    next.early_stopping.best_epoch = next.epoch;
  }
  if (next.epoch >= options_.epochs) {
    record.stop = true;
    record.reason = EndReason::kCompleted;
  }
  record.save |= record.stop;
}

ControlRecord RunControl::decide(const ControlInput& input) const {
  ControlRecord record;
  record.state = state_;
  if (input.epoch_ended) end_epoch(input, record);
  // Never two at once: within an epoch nobody waits for a disk.
  if ((checkpoint_is_due() || input.save_requested) && !input.still_saving) record.save = true;
  if (at_step_limit()) {
    record.stop = record.save = true;
    record.reason = EndReason::kCompleted;
  }
  if (input.stop_requested && !record.stop) {
    record.stop = record.save = true;
    record.reason = EndReason::kInterrupted;
  }
  if (input.diverged) {
    record.stop = true;
    record.save = false;  // a bad number never lands
    record.reason = EndReason::kDiverged;
  }
  record.learning_rate = rate_after(record.state);
  return record;
}

ControlRecord RunControl::exchange(const ControlInput& input) {
  const std::string text = channel_.rank() == 0 ? record_text(decide(input)) : "";
  ControlRecord record = record_from(channel_.broadcast(text, 0, "control record"));
  state_ = record.state;
  return record;
}

}  // namespace lockstep
