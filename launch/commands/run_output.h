// Rank 0's side of a run: what it leaves behind, and what people read while it goes on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lockstep/launch/report/run_recorder.h"
#include "lockstep/launch/terminal/overfitting_lines.h"
#include "lockstep/launch/terminal/progress_lines.h"

namespace lockstep {

class RunOutput {
 public:
  // As RunRecorder; says what is passed over, and when a run to be resumed starts afresh.
  RunOutput(const std::string& run_directory,
            const Config& config,
            bool resume,
            const std::string& environment_json);
  // Says where all is, of a run that ended.
  ~RunOutput();
  RunOutput(const RunOutput&) = delete;
  RunOutput& operator=(const RunOutput&) = delete;

  const std::vector<std::string>& changes() const { return recorder_.changes(); }
  std::optional<CheckpointContents>& checkpoint() { return recorder_.checkpoint(); }
  const std::optional<CheckpointContents>& checkpoint() const { return recorder_.checkpoint(); }
  std::vector<TrainingObserver*> observers();

 private:
  // Remembers that the run ended; one that fails does not.
  class Ended final : public TrainingObserver {
   public:
    void on_end(const EndReport&) override { told = true; }
    bool told = false;
  };

  RunRecorder recorder_;
  ProgressLines progress_;
  OverfittingLines overfitting_;
  Ended ended_;
};

}  // namespace lockstep
