// How a trainer is put together from a configuration.
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/training/frozen_parameters.h"
#include "lockstep/core/weights/initial_weights.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/own_model.h"
#include "lockstep/distributed/run/run_options.h"
#include "lockstep/distributed/run/start_report.h"
#include "lockstep/distributed/run/state_parts.h"
#include "lockstep/distributed/run/trainer_parts.h"
#include "lockstep/distributed/setup/arithmetic.h"
#include "lockstep/distributed/setup/graph_use.h"
#include "lockstep/distributed/setup/norm_groups.h"
#include "lockstep/distributed/setup/setting_notes.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/setup/validation_batch.h"
#include "lockstep/distributed/training/classification_loss.h"

namespace lockstep {
namespace {

TrainingLoopOptions make_training_loop_options(const Config& config, const BatchFormat& format) {
  return {.batches = make_epoch_batches_options(config, format),
          .report_every_steps = config.logging.every_steps,
          .wall_time_seconds = config.limits.wall_time_seconds,
          .save_every_minutes = config.checkpoint.every_minutes,
          .skip_not_finite = config.optimizer.not_finite == NotFinite::kSkip,
          .restore_best = config.early_stopping.restore_best,
          .views = config.validation.views,
          .fixed_evaluation_batches = config.distributed.reproducible,
          .replica_check_every_steps = config.distributed.replica_check_every_steps,
          .digest_every_steps = config.logging.digest_every_steps};
}

void make_channels(TrainerParts& parts, const Config& config, const DeviceChoice& device) {
  const auto channel = [&] {
    return parts.session.make_communicator(device.backend, device.device);
  };
  parts.communicator = channel();
  if (config.distributed.batch_norm != BatchNormMode::kSync) return;
  parts.statistics = channel();
  parts.exchange = make_statistics_exchange(*parts.statistics);
}

// Contiguous images for a program's own model: which layout it prefers is not known.
BatchFormat format_for(const Config& config, const DeviceChoice& device, bool own_model) {
  if (!own_model) return batch_format(config, device.device);
  return {
      .device = device.device, .dtype = compute_dtype(config.precision), .channels_last = false};
}

void refuse_rank_dependent_modules(const ImageClassifier& model) {
  const std::vector<std::string> dependent = rank_dependent_modules(model);
  if (dependent.empty()) return;
  throw_error(ExitCode::kUsage,
              "distributed.reproducible=true: the result would depend on the number of ranks. "
              "Replace\n  {}",
              fmt::join(dependent, "\n  "));
}

// Tells of settings that cannot take effect, and refuses those that make the run meaningless.
void check_settings(TrainerParts& parts, const Config& config, at::Device device, bool own_model) {
  const Topology& topology = parts.topology();
  RunSituation situation =
      describe_situation(parts.data, topology, device, *parts.model, own_model);
  situation.not_recorded =
      why_not_recorded(config, device, parts.communicator->backend(), own_model);
  parts.setting_notes = setting_notes(config, situation);
  if (config.distributed.reproducible) refuse_rank_dependent_modules(*parts.model);
  refuse_single_values(
      *parts.model, config, parts.data.info, situation.train_images, topology.world_size, device);
}

// Rank 0's model, whose weights become all ranks', looks at the images that it would begin with.
void show_images(const TrainerParts& parts, ImageClassifier& model) {
  const int64_t wanted = model.images_to_begin_with();
  if (wanted > 0 && parts.topology().is_root())
    model.begin_with(first_training_images(parts.data, wanted));
}

void make_model_and_step(TrainerParts& parts,
                         const Config& config,
                         const DeviceChoice& device,
                         std::shared_ptr<ImageClassifier> own_model,
                         bool fresh) {
  const bool is_own = own_model != nullptr;
  TrainingStepOptions step_options;
  agree(parts.session.control(), "making the model", [&] {
    if (own_model) {
      own_model->to(device.device);
      parts.model = std::move(own_model);
    } else {
      parts.model = model_on_device(config, parts.data.info, device.device);
    }
    if (fresh) show_images(parts, *parts.model);
    if (!config.model.freeze.empty())
      parts.num_frozen = freeze_parameters(*parts.model, config.model.freeze);
    check_settings(parts, config, device.device, is_own);
    step_options = make_training_step_options(config, *parts.model);
    step_options.graphs =
        records_steps(config, device.device, parts.communicator->backend(), is_own);
  });
  parts.options.batches.cut = step_options.cut;
  parts.parameters =
      std::make_unique<FlatParameters>(*parts.model, flat_options(config, parts.format()));
  parts.optimizer = make_optimizer(config.optimizer, *parts.parameters);
  if (config.optimizer.ema_decay > 0) {
    parts.average = std::make_unique<WeightAverage>(
        *parts.model, *parts.parameters, config.optimizer.ema_decay);
  }
  parts.step = std::make_unique<TrainingStep>(
      TrainingStepParts{.model = *parts.model,
                        .parameters = *parts.parameters,
                        .optimizer = *parts.optimizer,
                        .communicator = *parts.communicator,
                        .exchange = parts.exchange.get(),
                        .average = parts.average.get()},
      classification_loss(*parts.model, config.optimizer.label_smoothing),
      step_options);
}

// Between unlike hosts replicas may part by rounding.
void make_digests(TrainerParts& parts, const std::string& arithmetic) {
  parts.replicated = std::make_unique<StateDigests>(
      replicated_state(*parts.model, *parts.parameters, *parts.optimizer, parts.average.get()));
  parts.gradients = std::make_unique<StateDigests>(gradient_parts(*parts.parameters));
  const auto all = parts.session.control().all_gather(arithmetic, "comparing what computes");
  parts.unlike_hosts = std::ranges::any_of(all, [&](const auto& other) { return other != all[0]; });
}

// Reproducible runs: what computes must be the same on all ranks and, in a run that goes on, as it
// was.
void require_same_arithmetic(ControlChannel& control,
                             const std::string& arithmetic,
                             const std::optional<CheckpointContents>& checkpoint) {
  compare_ranks(control,
                {{"what computes (distributed.reproducible)",
                  arithmetic,
                  "start the ranks on hosts of one kind, or set distributed.reproducible=false"}});
  agree(control, "comparing with what computed the checkpoint", [&] {
    if (!checkpoint || checkpoint->arithmetic == arithmetic) return;
    throw_error(
        ExitCode::kUsage,
        "distributed.reproducible=true: the checkpoint was computed with {}; here it would "
        "be {}: resume where it is the same, or train on in a new --run-dir from model.weights",
        checkpoint->arithmetic.empty() ? "what is not recorded" : checkpoint->arithmetic,
        arithmetic);
  });
}

// Rank 0's model, optimizer and average, from its checkpoint or the weights to start from. Returns
// the state of a run that goes on, as JSON; empty: a fresh one.
std::string read_start(TrainerParts& parts,
                       const std::string& weights,
                       const std::optional<CheckpointContents>& checkpoint,
                       InitialWeights& initial_weights) {
  if (!checkpoint) {
    if (weights.empty()) return "";
    initial_weights =
        load_initial_weights(*parts.model, *parts.parameters, weights, parts.data.info.class_names);
    if (parts.average) parts.average->restart();
    return "";
  }
  require_same_images(checkpoint->data_digest, parts.data.info);
  import_weights(*parts.model, *parts.parameters, checkpoint->model, "the checkpoint");
  restore_optimizer(*parts.optimizer, *parts.parameters, checkpoint->optimizer);
  with_average(parts.average.get(), [&] {
    if (!parts.average) return;
    import_weights(
        *parts.model, *parts.parameters, checkpoint->average, "the checkpoint's averaged weights");
  });
  return to_json(checkpoint->state);
}

// What rank 0 starts from becomes every rank's state: state by the control channel, tensors by
// broadcast. The checkpoint's memory is given back: its tensors are the run's from there on.
ControlState share_start(TrainerParts& parts,
                         const std::string& weights,
                         std::optional<CheckpointContents> checkpoint,
                         InitialWeights& initial_weights) {
  ControlChannel& control = parts.session.control();
  parts.model->train();
  std::string text;
  agree_on_files(control, "reading the weights to start from", [&] {
    if (parts.topology().is_root()) text = read_start(parts, weights, checkpoint, initial_weights);
    checkpoint.reset();
  });
  text = control.broadcast(text, 0, "run state");
  parts.share_weights();
  with_average(parts.average.get(), [&] {
    if (parts.average) parts.share_weights();
  });
  for (auto& [name, flat] : parts.optimizer->state())
    parts.communicator->broadcast(flat, 0, "optimizer state");
  return text.empty() ? ControlState{} : control_state_from_json(text, "rank 0's run state");
}

}  // namespace

Trainer make_trainer(const Config& config,
                     Session& session,
                     const DeviceChoice& device,
                     TrainingData data,
                     TrainerOptions options,
                     std::vector<TrainingObserver*> observers) {
  auto made = std::make_unique<TrainerParts>(
      session, std::move(data), std::move(observers), std::move(options.stop_requested));
  TrainerParts& parts = *made;
  set_arithmetic(config);
  const std::string arithmetic = describe_arithmetic(device);
  if (config.distributed.reproducible)
    require_same_arithmetic(session.control(), arithmetic, options.resume_from);
  const bool own = options.own_model != nullptr;
  std::vector<std::string> notes = std::move(options.notes);
  parts.options = make_training_loop_options(config, format_for(config, device, own));
  parts.options.seconds_before = options.seconds_before;
  make_channels(parts, config, device);
  const bool fresh = config.model.weights.empty() && !options.resume_from;
  make_model_and_step(parts, config, device, std::move(options.own_model), fresh);

  make_digests(parts, arithmetic);

  InitialWeights initial_weights;  // rank 0's, as is what follows
  const std::string best_sha256 = options.resume_from ? options.resume_from->best_sha256 : "";
  ControlState state =
      share_start(parts, config.model.weights, std::move(options.resume_from), initial_weights);
  const ValidationBatch validation = choose_validation_batch(
      config, *parts.model, parts.data.info, parts.format(), session, state.validation_batch_size);
  parts.model->train();
  state.validation_batch_size = validation.size;
  parts.control = std::make_unique<RunControl>(
      make_run_control_options(config, updates_per_epoch(parts.data, config.batch_size)),
      session.control(),
      state);
  RunFilesOptions files = make_run_files_options(config, parts.data.info, options.run_directory);
  files.best_sha256 = best_sha256;
  files.arithmetic = arithmetic;
  if (own) files.metadata["own_model"] = "true";
  parts.files = std::make_unique<RunFiles>(std::move(files), session.control());

  parts.report = describe_start(config, session.topology(), device, parts.data, *parts.parameters);
  parts.report.images_of_rank = slice_sizes(parts.options.batches, session.topology().world_size);
  parts.report.resumed_step = state.step;
  parts.report.resumed_epoch = state.epoch;
  parts.report.validation_batch_size = validation.size;
  parts.report.initial_weights_digest = initial_weights.sha256;
  parts.report.notes =
      start_notes(config, initial_weights, parts.num_frozen, *parts.parameters, validation);
  if (state.step > 0 && !config.model.weights.empty())
    parts.report.notes.emplace_back(
        "model.weights is not read: the run goes on from its checkpoint");
  if (!device.note.empty()) parts.report.notes.push_back(device.note);
  std::ranges::copy(parts.setting_notes, std::back_inserter(parts.report.notes));
  for (const std::string& module : rank_dependent_modules(*parts.model))
    parts.report.notes.push_back("depends on the number of ranks: " + module);
  std::ranges::move(notes, std::back_inserter(parts.report.notes));
  return Trainer(std::move(made));
}

}  // namespace lockstep
