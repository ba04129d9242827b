#include "lockstep/distributed/run/trainer_parts.h"

#include <fmt/format.h>

#include <utility>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/training/replica_check.h"

namespace lockstep {
namespace {

// Of what is done every so many updates; 0: never.
bool is_due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

}  // namespace

TrainerParts::TrainerParts(Session& session_in,
                           TrainingData data_in,
                           std::vector<TrainingObserver*> observers,
                           std::function<bool()> stop_requested_in)
    : session(session_in),
      data(std::move(data_in)),
      reporter(std::move(observers)),
      stop_requested(std::move(stop_requested_in)) {}

EpochBatches TrainerParts::epoch_batches() const {
  const ControlState& state = control->state();
  return EpochBatches(data, options.batches, state.epoch, state.batch_in_epoch, topology());
}

StepRequest TrainerParts::own_request() const {
  if (stop_requested && stop_requested()) return StepRequest::kStop;
  if (!topology().is_root()) return StepRequest::kNone;
  const double limit = options.wall_time_seconds, interval = 60 * options.save_every_minutes;
  if (limit > 0 && options.seconds_before + reporter.seconds() >= limit) return StepRequest::kStop;
  const bool due = interval > 0 && files->seconds_since_save() >= interval;
  return due && !files->is_saving() ? StepRequest::kSave : StepRequest::kNone;
}

// On a GPU the host only launches. Behind a collective whose peer is lost the device's queue fills,
// and then any launch waits, where no communicator looks at the time.
std::optional<Watchdog::Guard> TrainerParts::watch_update() {
  std::optional<Watchdog::Guard> deadline;
  if (format().device.is_cuda()) deadline.emplace(session.watchdog().watch("update"));
  return deadline;
}

void TrainerParts::queue_update(EpochBatches& batches, double rate) {
  const Batch batch = batches.next();
  const auto deadline = watch_update();
  step->enqueue(batch, control->state().step + step->under_way(), rate, own_request());
}

bool TrainerParts::may_skip() {
  constexpr int64_t kMostInARow = 10;
  ControlState& state = control->state();
  if (!options.skip_not_finite || ++state.skipped_in_a_row > kMostInARow) return false;
  if (topology().is_root())
    complain("lockstep: update {} is left out: its loss or gradient is not finite\n",
             state.step + 1);
  return true;
}

StepResult TrainerParts::collect_update(const EpochBatches& batches) {
  StepResult result = step->collect();
  ControlState& state = control->state();
  if (result.finite) {
    state.skipped_in_a_row = 0;
  } else {
    if (!may_skip()) return result;
    result.finite = true;
    result.loss_sum = 0;
    result.correct = result.images = 0;
  }
  ++state.step;
  ++state.batch_in_epoch;
  state.train_loss_sum += result.loss_sum;
  state.train_correct += result.correct;
  state.train_images += result.images;
  reporter.count(result.images);
  const bool due = result.images > 0 && state.step % options.report_every_steps == 0;
  if (due && topology().is_root()) report_step(result, batches);
  return result;
}

StepResult TrainerParts::update(EpochBatches& batches, double rate) {
  queue_update(batches, rate);
  return collect_update(batches);
}

void TrainerParts::report_step(const StepResult& result, const EpochBatches& batches) {
  const ControlState& state = control->state();
  StepReport line;
  line.epoch = state.epoch + 1;
  line.step = state.step;
  line.batch = state.batch_in_epoch;
  line.batches = batches.num_batches();
  line.loss = result.loss_sum / static_cast<double>(result.images);
  line.learning_rate = result.learning_rate;
  reporter.step(line, batches.wait_seconds());
}

bool TrainerParts::looks_at_state(int64_t at_step) const {
  return is_due(options.digest_every_steps, at_step) ||
         is_due(options.replica_check_every_steps, at_step);
}

void TrainerParts::look_at_state() {
  const int64_t now = control->state().step;
  if (is_due(options.digest_every_steps, now) && topology().is_root()) report_digests();
  if (is_due(options.replica_check_every_steps, now)) check_replicas();
}

void TrainerParts::report_digests() {
  DigestReport report{.step = control->state().step};
  for (const StateDigests* state : {replicated.get(), gradients.get()}) {
    const std::vector<uint64_t> digests = read_digests(*state, *communicator);
    for (size_t i = 0; i < digests.size(); ++i)
      report.digests.emplace_back(state->parts()[i].name, digests[i]);
  }
  reporter.digests(report);
}

void TrainerParts::check_replicas() {
  const int64_t now = control->state().step;
  if (options.replica_check_every_steps == 0 || topology().world_size == 1 || checked_step_ == now)
    return;
  checked_step_ = now;
  const std::string difference = compare_replicas(*replicated, *communicator, session.control());
  if (difference.empty()) return;
  if (!unlike_hosts) {
    throw AgreedError(
        ExitCode::kInternal,
        fmt::format(
            "the ranks' copies of the model have parted by update {}: {}. They are computed "
            "from the same sums, so memory or a processor is at fault. Checkpoints from "
            "before are intact: go on from them with --resume, on other hosts",
            now,
            difference));
  }
  options.replica_check_every_steps = 0;  // told once
  if (topology().is_root())
    complain("lockstep: by update {} {}: the hosts are not of one kind, and round differently\n",
             now,
             difference);
}

EvaluationResult TrainerParts::evaluate_indices(Split split,
                                                const std::vector<int64_t>& indices,
                                                PredictionTally* tally) {
  const EvaluationImages images{
      .source = *data.source,
      .info = data.info,
      .labels = split == Split::kTrain ? data.train_labels : data.test_labels,
      .split = split,
      .indices = indices,
      .views = options.views,
      .fixed_batches = options.fixed_evaluation_batches};
  const int64_t batch_size = control->state().validation_batch_size;
  EvaluationResult result;
  model->eval();
  with_average(average.get(), [&] {
    result = evaluate(*model, images, format(), batch_size, *communicator, tally);
  });
  model->train();
  return result;
}

void TrainerParts::share_weights() {
  communicator->broadcast(parameters->master(), 0, "weights");
  for (const at::Tensor& buffer : model->buffers()) communicator->broadcast(buffer, 0, "buffers");
  parameters->refresh_leaves();
}

}  // namespace lockstep
