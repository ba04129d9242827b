// What a run leaves behind, kept by rank 0: its directory, metrics, TensorBoard events, report.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/launch/report/report_file.h"
#include "lockstep/launch/run/digest_file.h"
#include "lockstep/launch/run/metrics_file.h"
#include "lockstep/launch/run/run_directory.h"
#include "lockstep/launch/run/tensorboard_file.h"

namespace lockstep {

// Order of calls, as a regular expression: checkpoint? observers finish?. Must outlive the trainer
// that tells the observers.
class RunRecorder {
 public:
  // Takes the run directory (RunDirectory's rules), reads its newest checkpoint when `resume` is
  // set, and opens the files. `warn` is told of damaged checkpoints. Throws Error as RunDirectory
  // and load_newest_checkpoint do.
  RunRecorder(const std::string& run_directory,
              const Config& config,
              bool resume,
              const std::string& environment_json,
              const std::function<void(const std::string&)>& warn);

  const std::string& directory() const { return directory_.path(); }
  const std::vector<std::string>& changes() const { return directory_.changes(); }
  // What a resumed run goes on from; nothing: it starts afresh. For TrainerOptions::resume_from, by
  // std::exchange: it is large.
  std::optional<CheckpointContents>& checkpoint() { return checkpoint_; }
  const std::optional<CheckpointContents>& checkpoint() const { return checkpoint_; }
  // Losses of the epochs before this start of the run.
  const LearningCurves& curves() const { return curves_; }
  std::vector<TrainingObserver*> observers();
  // Waits for what the run's end began; whether there is a report.html.
  bool finish() { return report_.finish(); }

 private:
  RunDirectory directory_;
  std::optional<CheckpointContents> checkpoint_;
  LearningCurves curves_;
  std::optional<MetricsFile> metrics_;
  std::optional<DigestFile> digests_;
  std::optional<TensorBoardFile> tensorboard_;
  ReportWriter report_;
};

}  // namespace lockstep
