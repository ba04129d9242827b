// A run from its first update to its last.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/training/lr_finder.h"
#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/distributed/setup/devices.h"
#include "lockstep/distributed/setup/training_data.h"

namespace lockstep {

struct TrainerOptions {
  // Rank 0 writes weights and checkpoints there; empty: nothing is written. Equal on every rank.
  std::string run_directory;
  // Rank 0's counts: the trainer shares it, and gives its memory back before it has been made.
  std::optional<CheckpointContents> resume_from;
  bool dry_run = false;  // one step, no files
  // Asked on every rank before every update: whether this rank wants the run saved and stopped
  // after it (a signal has come). Absent: never.
  std::function<bool()> stop_requested;
};

class Trainer {
 public:
  // Collective. The session, data and observers must outlive it. `observers` is empty on all ranks
  // but 0.
  Trainer(const Config& config,
          Session& session,
          const DeviceChoice& device,
          TrainingData data,
          TrainerOptions options,
          std::vector<TrainingObserver*> observers);
  ~Trainer();
  // Trains to the end that the configuration, the limits or a signal set; equal on every rank.
  EndReport run();
  // Instead of run: trains at the rates that the finder asks for, whatever the schedule, over as
  // many passes as that takes, until it has finished; equal on every rank. Writes nothing. False: a
  // stop was requested before.
  bool run_range_test(LrFinder& finder);

  const StartReport& plan() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
