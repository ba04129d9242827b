// A run from its first update to its last.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/lr_finder.h"
#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/distributed/setup/devices.h"
#include "lockstep/distributed/setup/training_data.h"

namespace lockstep {

// What a run is told besides its configuration.
struct TrainerOptions {
  // A folder that is there, where rank 0 writes weights and checkpoints; empty: nothing is written.
  // Equal on every rank.
  std::string run_directory;
  // Rank 0's counts: make_trainer shares it and gives its memory back. It must be of a run on the
  // same images (Error(kUsage)).
  std::optional<CheckpointContents> resume_from;
  // Told with the run's own at its start, a line each. Rank 0's count.
  std::vector<std::string> notes;
  // Of limits.wall_time_seconds, spent before this trainer began. Rank 0's counts.
  double seconds_before = 0;
  // Asked on every rank before every update: whether this rank wants the run saved and stopped
  // after it (a signal has come). Absent: never.
  std::function<bool()> stop_requested;
  // A program's own model (own_model.h), on the CPU, made alike on every rank; `model.name` is then
  // what files call it, and the other `model` keys but `freeze` and `weights` are not looked at.
  // Absent: the configured one.
  std::shared_ptr<ImageClassifier> own_model;
};

struct TrainerParts;

// Made by make_trainer. Order of calls, as a regular expression: plan* (run | dry_run |
// run_range_test) plan*. All but plan are collective.
class Trainer {
 public:
  explicit Trainer(std::unique_ptr<TrainerParts> parts);
  Trainer(Trainer&& other) noexcept;
  Trainer& operator=(Trainer&& other) noexcept;
  ~Trainer();

  // Trains to the end that the configuration, the limits or a request set; equal on every rank.
  EndReport run();
  // Everything once, nothing kept: one update.
  // REQUIRES: options without a run_directory or a checkpoint.
  EndReport dry_run();
  // Trains at the rates that the finder asks for, whatever the schedule, over as many passes as
  // that takes, until it has finished; equal on every rank. Writes nothing. False: a stop was
  // requested before.
  bool run_range_test(LrFinder& finder);

  const StartReport& plan() const;

 private:
  std::unique_ptr<TrainerParts> parts_;
};

// The configured run, ready for its first update. Collective: what one rank cannot do is every
// rank's AgreedError. Session, the data's source and labels and the observers must outlive the
// trainer; the configuration need not. `observers` is empty on all ranks but 0.
Trainer make_trainer(const Config& config,
                     Session& session,
                     const DeviceChoice& device,
                     TrainingData data,
                     TrainerOptions options,
                     std::vector<TrainingObserver*> observers);

}  // namespace lockstep
