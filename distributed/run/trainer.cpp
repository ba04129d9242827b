#include "lockstep/distributed/run/trainer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/run/final_evaluation.h"
#include "lockstep/distributed/run/trainer_parts.h"

namespace lockstep {
namespace {

// What the record asks for. Nothing of replicas that have parted is kept.
void save(TrainerParts& parts, const ControlRecord& record) {
  if (record.save || record.is_best) parts.check_replicas();
  parts.files->save(record, *parts.model, *parts.parameters, *parts.optimizer, parts.average.get());
}

// Rank 0's decision for all.
ControlRecord exchange(TrainerParts& parts, ControlInput input) {
  input.still_saving = parts.files->is_saving();
  input.seconds_since_save = parts.files->seconds_since_save();
  return parts.control->exchange(input);
}

// The same, and the files that it asks for.
ControlRecord decide(TrainerParts& parts, const ControlInput& input) {
  const ControlRecord record = exchange(parts, input);
  const bool left_out = !record.save && !record.stop && parts.control->checkpoint_is_due();
  if (left_out && parts.topology().is_root() && !std::exchange(parts.told_of_slow_disk, true)) {
    complain(
        "lockstep: the checkpoint of update {} is left out, and others may be: the one before is "
        "still being written\n",
        record.state.step);
  }
  save(parts, record);
  return record;
}

EpochReport describe_epoch(const TrainerParts& parts) {
  const ControlState& state = parts.control->state();
  const auto images = static_cast<double>(std::max<int64_t>(1, state.train_images));
  EpochReport line;
  line.epoch = state.epoch + 1;
  line.step = state.step;
  line.train_loss = state.train_loss_sum / images;
  line.train_accuracy = static_cast<double>(state.train_correct) / images;
  line.learning_rate = parts.control->next_learning_rate();
  parts.reporter.time_epoch(line);
  return line;
}

// The end of an epoch, or of the run within one: validation, rank 0's decision, its record, what it
// asks for.
ControlRecord conclude(TrainerParts& parts, bool epoch_ended, bool stop_requested) {
  EpochReport line = describe_epoch(parts);
  ControlInput input{.epoch_ended = epoch_ended, .stop_requested = stop_requested};
  if (!parts.data.split.validation.empty()) {
    const EvaluationResult validation =
        parts.evaluate_indices(Split::kTrain, parts.data.split.validation);
    input.has_validation = true;
    line.validation_loss = input.validation_loss = validation.loss;
    line.validation_accuracy = input.validation_accuracy = validation.accuracy;
  }
  const ControlRecord record = exchange(parts, input);
  line.best_epoch = record.state.early_stopping.best_epoch;
  line.patience_left = record.patience_left;
  line.is_best = record.is_best;
  // The line before the checkpoint: a resumed run drops lines after its checkpoint, but could not
  // write a missing one.
  parts.reporter.epoch(line);
  save(parts, record);
  parts.reporter.begin_epoch();
  return record;
}

// Whether something is decided, or the state looked at, once so many further updates of the epoch
// are counted.
bool pauses_after(const TrainerParts& parts, const EpochBatches& batches, int64_t ahead) {
  const ControlState& state = parts.control->state();
  return state.batch_in_epoch + ahead == batches.num_batches() ||
         parts.control->at_step_limit(ahead) || parts.control->checkpoint_is_due(ahead) ||
         parts.looks_at_state(state.step + ahead);
}

// The next update's result, while those behind it are queued as far as may be: not beyond one after
// which the device must stand still.
StepResult next_result(TrainerParts& parts, EpochBatches& batches) {
  const TrainingStep& step = *parts.step;
  while (step.under_way() == 0 || (step.under_way() < step.max_under_way() &&
                                   !pauses_after(parts, batches, step.under_way())))
    parts.queue_update(batches, parts.control->next_learning_rate(step.under_way()));
  return parts.collect_update(batches);
}

// Trains one epoch, or what is left of it. Returns the record that ends it.
ControlRecord train_epoch(TrainerParts& parts) {
  EpochBatches batches = parts.epoch_batches();
  parts.reporter.begin_batches();
  while (true) {
    StepResult result = next_result(parts, batches);
    if (result.stop_requested || result.save_requested || !result.finite) {
      // Updates that were queued before this was known are finished; after a skipped one they are
      // skipped too.
      while (parts.step->under_way() > 0) {
        const StepResult later = parts.collect_update(batches);
        result.finite &= later.finite;
        result.stop_requested |= later.stop_requested;
      }
    }
    if (!result.finite) return decide(parts, {.diverged = true});
    parts.look_at_state();
    const bool ended = parts.control->state().batch_in_epoch == batches.num_batches();
    if (ended || parts.control->at_step_limit())
      return conclude(parts, ended, result.stop_requested);
    const bool asked = result.stop_requested || result.save_requested;
    if (!asked && !parts.control->checkpoint_is_due()) continue;
    const ControlRecord record = decide(
        parts, {.stop_requested = result.stop_requested, .save_requested = result.save_requested});
    if (record.stop) return record;
  }
}

EndReport finish(TrainerParts& parts, EndReason reason) {
  const ControlState& state = parts.control->state();
  const EarlyStoppingState& stopping = state.early_stopping;
  EndReport end;
  end.reason = reason;
  end.epochs = state.epoch;
  end.steps = state.step;
  end.best_epoch = stopping.best_epoch;
  if (stopping.best_epoch > 0 && !parts.data.split.validation.empty())
    end.best_value = stopping.best;
  end.epochs_without_improvement = stopping.epochs_without_improvement;
  if (is_finished(reason)) test_final_weights(parts, end);
  parts.reporter.measure_end(end, parts.session.control());
  parts.reporter.end(end);
  return end;
}

}  // namespace

Trainer::Trainer(std::unique_ptr<TrainerParts> parts) : parts_(std::move(parts)) {}
Trainer::Trainer(Trainer&& other) noexcept = default;
Trainer& Trainer::operator=(Trainer&& other) noexcept = default;
Trainer::~Trainer() = default;

EndReport Trainer::run() {
  parts_->reporter.start(parts_->report);
  std::optional<EndReason> reason = parts_->control->finished_reason();
  while (!reason) {
    const ControlRecord record = train_epoch(*parts_);
    if (record.stop) reason = record.reason;
  }
  return finish(*parts_, *reason);
}

const StartReport& Trainer::plan() const { return parts_->report; }

}  // namespace lockstep
