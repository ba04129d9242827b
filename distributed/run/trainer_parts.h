// What a run is made of, and what its ways of going share: an update, an evaluation, the weights of
// rank 0 for all. Used by the files of this folder alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/core/training/state_digests.h"
#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/run/run_control.h"
#include "lockstep/distributed/run/run_files.h"
#include "lockstep/distributed/run/run_reporter.h"
#include "lockstep/distributed/run/trainer.h"
#include "lockstep/distributed/setup/training_data.h"
#include "lockstep/distributed/training/evaluation.h"
#include "lockstep/distributed/training/statistics_exchange.h"
#include "lockstep/distributed/training/training_step.h"

namespace lockstep {

struct TrainingLoopOptions {
  EpochBatchesOptions batches;
  int64_t report_every_steps = 1;
  double wall_time_seconds = 0;   // 0 = no limit
  double seconds_before = 0;      // spent of it before the run began
  double save_every_minutes = 0;  // within epochs; 0 = off
  bool skip_not_finite = false;   // optimizer.not_finite=skip
  bool restore_best = true;       // test the best weights, not the last ones
  EvaluationViews views = EvaluationViews::kOne;
  bool fixed_evaluation_batches = false;  // EvaluationImages::fixed_batches
  int64_t replica_check_every_steps = 0;  // and before saving; 0 = off
  int64_t digest_every_steps = 0;         // 0 = off
};

// Made by make_trainer in the order of the members, which is the order in which they need one
// another; all alike on every rank but for what rank 0 alone has: observers and files.
struct TrainerParts {
  TrainerParts(Session& session_in,
               TrainingData data_in,
               std::vector<TrainingObserver*> observers,
               std::function<bool()> stop_requested_in);

  Session& session;
  TrainingData data;
  RunReporter reporter;
  std::function<bool()> stop_requested;
  TrainingLoopOptions options;

  std::unique_ptr<Communicator> communicator;  // gradients, weights, evaluations
  std::unique_ptr<Communicator> statistics;    // of synchronised batch norm; null: none
  std::unique_ptr<StatisticsExchange> exchange;
  int64_t num_frozen = 0;  // elements
  std::vector<std::string> setting_notes;
  std::shared_ptr<ImageClassifier> model;
  std::unique_ptr<FlatParameters> parameters;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<WeightAverage> average;  // null: the weights are not averaged
  std::unique_ptr<TrainingStep> step;
  std::unique_ptr<StateDigests> replicated, gradients;
  bool unlike_hosts = false;  // replicas may differ by what computes them
  bool told_of_slow_disk = false;
  std::unique_ptr<RunControl> control;
  std::unique_ptr<RunFiles> files;
  StartReport report;

  const Topology& topology() const { return session.topology(); }
  const BatchFormat& format() const { return options.batches.format; }

  // Batches of the epoch under way, from where it stands.
  EpochBatches epoch_batches() const;
  // Queues the next update; with collect_update() the sums of the epoch and the step count move on
  // by the oldest one under way. One that is not finite counts with options.skip_not_finite alone,
  // and as `finite` of a result without images, as long as there are few in a row. Collective.
  void queue_update(EpochBatches& batches, double rate);
  StepResult collect_update(const EpochBatches& batches);
  // Both at once.
  StepResult update(EpochBatches& batches, double rate);
  // Whether the state after update `step` is looked at, within an epoch.
  bool looks_at_state(int64_t step) const;
  // Then: tells its digests, compares replicas. Collective.
  void look_at_state();
  // Throws AgreedError(kInternal), naming ranks and tensor, where ranks hold different states.
  // Collective.
  void check_replicas();
  // Of the averaged weights, where there are such. Collective.
  EvaluationResult evaluate_indices(Split split,
                                    const std::vector<int64_t>& indices,
                                    PredictionTally* tally = nullptr);
  // Rank 0's weights and buffers become every rank's. Collective.
  void share_weights();

 private:
  StepRequest own_request() const;
  std::optional<Watchdog::Guard> watch_update();
  bool may_skip();
  void report_step(const StepResult& result, const EpochBatches& batches);
  void report_digests();

  int64_t checked_step_ = -1;
};

}  // namespace lockstep
