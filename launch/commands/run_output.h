// Rank 0's side of a run: its directory, the checkpoint it goes on from, and who is told of its
// progress.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/launch/report/report_file.h"
#include "lockstep/launch/run/metrics_file.h"
#include "lockstep/launch/run/run_directory.h"
#include "lockstep/launch/run/tensorboard_file.h"
#include "lockstep/launch/terminal/overfitting_lines.h"
#include "lockstep/launch/terminal/progress_lines.h"

namespace lockstep {

class RunOutput {
 public:
  // Takes the run directory, reads its newest checkpoint when `resume` is set (none: says so, and
  // the run starts afresh), writes environment.json and opens the observers. Throws Error as
  // RunDirectory and load_newest_checkpoint do.
  RunOutput(const std::string& run_directory,
            const Config& config,
            bool resume,
            const std::string& environment_json);

  // Says where all is, of a run that ended.
  ~RunOutput();
  RunOutput(const RunOutput&) = delete;
  RunOutput& operator=(const RunOutput&) = delete;

  std::optional<CheckpointContents>& checkpoint() { return checkpoint_; }
  const std::optional<CheckpointContents>& checkpoint() const { return checkpoint_; }
  std::vector<TrainingObserver*> observers();

 private:
  // Remembers that the run ended; a run that fails ends without.
  class Ended final : public TrainingObserver {
   public:
    void on_end(const EndReport&) override { told = true; }
    bool told = false;
  };

  RunDirectory directory_;
  std::optional<CheckpointContents> checkpoint_;
  std::optional<MetricsFile> metrics_;
  std::optional<TensorBoardFile> tensorboard_;
  ReportWriter report_;
  Ended ended_;
  ProgressLines progress_;
  std::optional<OverfittingLines> overfitting_;
};

}  // namespace lockstep
