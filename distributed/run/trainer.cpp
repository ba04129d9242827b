#include "lockstep/distributed/run/trainer.h"

#include <limits>
#include <numeric>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/frozen_parameters.h"
#include "lockstep/core/weights/initial_weights.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/run_files.h"
#include "lockstep/distributed/run/run_reporter.h"
#include "lockstep/distributed/run/start_report.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/setup/validation_batch.h"
#include "lockstep/distributed/training/statistics_exchange.h"
#include "lockstep/distributed/training/training_step.h"
#include "lockstep/distributed/training/validator.h"

namespace lockstep {

struct Trainer::Impl {
  const Config& config;
  Session& session;
  TrainingData data;
  TrainerOptions options;
  RunReporter reporter;

  BatchFormat format;
  std::unique_ptr<Communicator> gradients, statistics;
  std::unique_ptr<StatisticsExchange> exchange;
  int64_t num_frozen = 0;
  std::shared_ptr<ImageClassifier> model;
  FlatParameters parameters;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<WeightAverage> average;  // null: the weights are not averaged
  TrainingStep step;
  InitialWeights initial_weights;  // rank 0's
  RunControl control;
  RunFiles files;
  StartReport report;

  Impl(const Config& c,
       Session& s,
       const DeviceChoice& device,
       TrainingData d,
       TrainerOptions o,
       std::vector<TrainingObserver*> observers)
      : config(c),
        session(s),
        data(std::move(d)),
        options(std::move(o)),
        reporter(std::move(observers)),
        format(batch_format(c, device.device)),
        gradients(s.make_communicator(device.backend, device.device)),
        statistics(c.distributed.batch_norm == "sync"
                       ? s.make_communicator(device.backend, device.device)
                       : nullptr),
        exchange(statistics ? make_statistics_exchange(*statistics) : nullptr),
        model(model_to_train(device)),
        parameters(*model, flat_options(c, format)),
        optimizer(make_optimizer(c.optimizer, parameters)),
        average(c.optimizer.ema_decay > 0
                    ? std::make_unique<WeightAverage>(*model, parameters, c.optimizer.ema_decay)
                    : nullptr),
        step(*model, parameters, *optimizer, *gradients, exchange.get(), c),
        control(c, s.control(), initial_state()),
        files(options.dry_run ? "" : options.run_directory, c, data.info, s.control()) {
    set_math_mode(c.precision);
    const ValidationBatch validation = choose_validation_batch(
        c, *model, data.info, format, s, control.state().validation_batch_size);
    model->train();
    control.state().validation_batch_size = validation.size;
    report = describe_start(c, s.topology(), device, data, parameters);
    report.resumed_step = control.state().step;
    report.resumed_epoch = control.state().epoch;
    report.validation_batch_size = validation.size;
    report.initial_weights_digest = initial_weights.sha256;
    report.notes = start_notes(c, initial_weights, num_frozen, parameters, validation);
  }

  const Topology& topology() const { return session.topology(); }
  bool is_root() const { return topology().rank == 0; }
  int64_t updates_per_epoch() const { return report.updates_per_epoch; }

  std::shared_ptr<ImageClassifier> model_to_train(const DeviceChoice& device) {
    std::shared_ptr<ImageClassifier> made;
    agree(session.control(), "making the model", [&] {
      made = model_on_device(config, data.info, device.device);
      if (!config.model.freeze.empty()) num_frozen = freeze_parameters(*made, config.model.freeze);
    });
    return made;
  }

  // Rank 0's checkpoint, or without one its initial weights, become every rank's state: state by
  // the control channel, tensors by broadcast.
  ControlState initial_state() {
    model->train();
    std::string text;
    agree_on_files(session.control(), "reading the weights to start from", [&] {
      if (!is_root()) return;
      if (!options.resume_from) {
        if (config.model.weights.empty()) return;
        initial_weights = load_initial_weights(*model, parameters, config.model.weights);
        if (average) average->restart();
        return;
      }
      import_weights(*model, parameters, options.resume_from->model, "the checkpoint");
      restore_optimizer(*optimizer, parameters, options.resume_from->optimizer);
      with_average(average.get(), [&] {
        if (!average) return;
        import_weights(
            *model, parameters, options.resume_from->average, "the checkpoint's averaged weights");
      });
      text = to_json(options.resume_from->state);
      options.resume_from.reset();  // its memory is the run's from here on
    });
    text = session.control().broadcast(text, 0, "run state");
    share_weights();
    with_average(average.get(), [&] {
      if (average) share_weights();
    });
    for (auto& [name, flat] : optimizer->state()) gradients->broadcast(flat, 0, "optimizer state");
    return text.empty() ? ControlState{} : control_state_from_json(text, "rank 0's run state");
  }

  void share_weights() {
    gradients->broadcast(parameters.master(), 0, "weights");
    for (const at::Tensor& buffer : model->buffers()) gradients->broadcast(buffer, 0, "buffers");
    parameters.refresh_leaves();
  }

  // Batches of the epoch under way, from where it stands.
  BatchLoader epoch_loader(const EpochSampler& sampler) {
    const ControlState& state = control.state();
    return training_batches(
        data, config, format, sampler, state.epoch, state.batch_in_epoch, topology());
  }

  bool wants_stop() const {
    const double limit = config.limits.wall_time_seconds;
    const bool asked = options.stop_requested && options.stop_requested();
    return asked || (is_root() && limit > 0 && reporter.seconds() >= limit);
  }

  // One update; the sums of the epoch and the step count move on.
  StepResult update(BatchLoader& loader, int64_t num_batches, double rate) {
    ControlState& state = control.state();
    const Batch batch = loader.next();
    const StepResult result = step.run(batch, state.step, rate, wants_stop());
    if (!result.finite) return result;
    if (average) average->update();
    ++state.step;
    ++state.batch_in_epoch;
    state.train_loss_sum += result.loss_sum;
    state.train_correct += result.correct;
    state.train_images += result.images;
    reporter.count(result.images);
    const bool due = state.step % config.logging.every_steps == 0;
    if (due && is_root()) report_step(result, rate, loader, num_batches);
    return result;
  }

  void report_step(const StepResult& result,
                   double rate,
                   const BatchLoader& loader,
                   int64_t num_batches) {
    const ControlState& state = control.state();
    StepReport line;
    line.epoch = state.epoch + 1;
    line.step = state.step;
    line.batch = state.batch_in_epoch;
    line.batches = num_batches;
    line.loss = result.loss_sum / static_cast<double>(result.images);
    line.learning_rate = rate;
    reporter.step(line, loader.wait_seconds());
  }

  EvaluationResult evaluate_indices(Split split,
                                    const std::vector<int64_t>& indices,
                                    PredictionTally* tally = nullptr) {
    model->eval();
    const auto& labels = split == Split::kTrain ? data.train_labels : data.test_labels;
    EvaluationResult result;
    with_average(average.get(), [&] {
      result = evaluate(*model,
                        *data.source,
                        data.info,
                        labels,
                        split,
                        indices,
                        format,
                        control.state().validation_batch_size,
                        *gradients,
                        tally);
    });
    model->train();
    return result;
  }

  // The end of an epoch, or of the run within one: validation, rank 0's decision, its record, what
  // it asks for.
  ControlRecord conclude(bool epoch_ended, bool stop_requested) {
    const ControlState before = control.state();
    EpochReport line;
    line.epoch = before.epoch + 1;
    line.step = before.step;
    line.train_loss =
        before.train_loss_sum / static_cast<double>(std::max<int64_t>(1, before.train_images));
    line.train_accuracy = static_cast<double>(before.train_correct) /
                          static_cast<double>(std::max<int64_t>(1, before.train_images));
    line.learning_rate = control.next_learning_rate(updates_per_epoch());
    reporter.time_epoch(line);

    ControlInput input;
    input.epoch_ended = epoch_ended;
    input.stop_requested = stop_requested;
    input.updates_per_epoch = updates_per_epoch();
    if (!data.split.validation.empty()) {
      const EvaluationResult validation = evaluate_indices(Split::kTrain, data.split.validation);
      input.has_validation = true;
      line.validation_loss = input.validation_loss = validation.loss;
      line.validation_accuracy = input.validation_accuracy = validation.accuracy;
    }
    const ControlRecord record = control.exchange(input);
    line.best_epoch = record.state.early_stopping.best_epoch;
    line.patience_left = record.patience_left;
    line.is_best = record.is_best;
    // The line before the checkpoint: a resumed run drops lines after its checkpoint, but could not
    // write a missing one.
    reporter.epoch(line);
    files.save(record, *model, parameters, *optimizer, average.get());
    reporter.begin_epoch();
    return record;
  }

  // Best weights back into the model, on every rank, for the test and whoever uses the model next.
  void restore_best() {
    const ControlState& state = control.state();
    const bool best_is_last =
        state.early_stopping.best_epoch == state.epoch && state.batch_in_epoch == 0;
    if (!config.early_stopping.restore_best || best_is_last || !files.has_best(state)) return;
    files.load_best(*model, parameters);
    share_weights();
  }

  // Trains one epoch, or what is left of it. Returns the record that ends it.
  ControlRecord epoch() {
    const EpochSampler sampler(data.split.train,
                               config.batch_size,
                               static_cast<uint64_t>(config.seed),
                               control.state().epoch);
    BatchLoader loader = epoch_loader(sampler);
    reporter.begin_batches();
    while (true) {
      const double rate = control.next_learning_rate(updates_per_epoch());
      const StepResult result = update(loader, sampler.num_batches(), rate);
      if (!result.finite) {
        ControlInput input;
        input.diverged = true;
        input.updates_per_epoch = updates_per_epoch();
        return control.exchange(input);
      }
      const ControlState& state = control.state();
      const bool ended = state.batch_in_epoch == sampler.num_batches();
      const bool limit = config.limits.steps > 0 && state.step >= config.limits.steps;
      if (ended || limit) return conclude(ended, result.stop_requested);
      const bool due =
          config.checkpoint.every_steps > 0 && state.step % config.checkpoint.every_steps == 0;
      if (result.stop_requested || due) {
        ControlInput input;
        input.stop_requested = result.stop_requested;
        input.updates_per_epoch = updates_per_epoch();
        const ControlRecord record = control.exchange(input);
        files.save(record, *model, parameters, *optimizer, average.get());
        if (record.stop) return record;
      }
    }
  }

  void test(EndReport& end) {
    std::vector<int64_t> all(static_cast<size_t>(data.info.count(Split::kTest)));
    std::iota(all.begin(), all.end(), int64_t{0});
    PredictionTally tally(data.info.num_classes(), format.device);
    const EvaluationResult result = evaluate_indices(Split::kTest, all, &tally);
    if (result.images == 0) return;
    end.test_loss = result.loss;
    end.test_accuracy = result.accuracy;
    TestReport report{.class_names = data.info.class_names,
                      .predictions = tally.summary(*gradients, session.control()),
                      .channels = data.info.channels,
                      .height = data.info.height,
                      .width = data.info.width};
    agree_on_files(session.control(), "telling of the test", [&] {
      if (!is_root()) return;
      report.pictures = test_pictures(report.predictions.worst);
      reporter.test(report);
    });
  }

  // Nothing where they cannot be read: a report without pictures is no reason to lose a run.
  std::vector<uint8_t> test_pictures(const std::vector<Mistake>& mistakes) {
    std::vector<int64_t> indices;
    for (const Mistake& mistake : mistakes) indices.push_back(mistake.index);
    std::vector<uint8_t> pictures(indices.size() * static_cast<size_t>(data.info.image_bytes()));
    try {
      if (!indices.empty()) data.source->gather(Split::kTest, indices, pictures.data());
    } catch (const Error&) {
      pictures.clear();
    }
    return pictures;
  }

  // The average, where there is one, becomes the model, for the test and whoever uses it next.
  void adopt_average() {
    if (average) average->swap();
    average.reset();
  }

  EndReport finish(const std::string& reason) {
    EndReport end;
    end.reason = reason;
    end.epochs = control.state().epoch;
    end.steps = control.state().step;
    const EarlyStoppingState& stopping = control.state().early_stopping;
    end.best_epoch = stopping.best_epoch;
    if (stopping.best_epoch > 0 && !data.split.validation.empty()) end.best_value = stopping.best;
    end.epochs_without_improvement = stopping.epochs_without_improvement;
    if (reason == "completed" || reason == "early_stopping") {
      adopt_average();
      restore_best();
      test(end);
    }
    reporter.measure_end(end, session.control());
    reporter.end(end);
    return end;
  }

  EndReport run() {
    reporter.start(report);
    std::string reason = control.finished_reason();
    while (reason.empty()) {
      const ControlRecord record = epoch();
      if (record.stop) reason = record.reason;
    }
    return finish(reason);
  }

  bool range_test(LrFinder& finder) {
    reporter.start(report);
    ControlState& state = control.state();
    for (; !finder.finished(); ++state.epoch) {
      state.batch_in_epoch = 0;
      const EpochSampler sampler(
          data.split.train, config.batch_size, static_cast<uint64_t>(config.seed), state.epoch);
      BatchLoader loader = epoch_loader(sampler);
      reporter.begin_batches();
      for (int64_t i = 0; i < sampler.num_batches() && !finder.finished(); ++i) {
        const StepResult result = update(loader, sampler.num_batches(), finder.next_rate());
        // Rank 0's loss feeds every rank's finder, so that all of them end with the same update.
        const double loss = result.finite ? result.loss_sum / static_cast<double>(result.images)
                                          : std::numeric_limits<double>::quiet_NaN();
        finder.record(broadcast_number(session.control(), loss, 0, "range test"));
        if (result.stop_requested) return finder.finished();
      }
    }
    return true;
  }

  // Everything once, nothing kept: one update, and validation of nothing.
  EndReport dry_run() {
    const EpochSampler sampler(
        data.split.train, config.batch_size, static_cast<uint64_t>(config.seed), 0);
    BatchLoader loader = epoch_loader(sampler);
    update(loader, sampler.num_batches(), control.next_learning_rate(updates_per_epoch()));
    EndReport end;
    end.reason = "completed";
    end.steps = 1;
    reporter.measure_end(end, session.control());
    return end;
  }
};

Trainer::Trainer(const Config& config,
                 Session& session,
                 const DeviceChoice& device,
                 TrainingData data,
                 TrainerOptions options,
                 std::vector<TrainingObserver*> observers)
    : impl_(std::make_unique<Impl>(
          config, session, device, std::move(data), std::move(options), std::move(observers))) {}

Trainer::~Trainer() = default;

EndReport Trainer::run() { return impl_->options.dry_run ? impl_->dry_run() : impl_->run(); }

bool Trainer::run_range_test(LrFinder& finder) { return impl_->range_test(finder); }

const StartReport& Trainer::plan() const { return impl_->report; }

}  // namespace lockstep
