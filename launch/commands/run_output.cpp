#include "lockstep/launch/commands/run_output.h"

#include "lockstep/core/base/durable_file.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {

RunOutput::RunOutput(const std::string& run_directory,
                     const Config& config,
                     bool resume,
                     const std::string& environment_json)
    : directory_(run_directory, config, resume),
      report_(run_directory),
      progress_(config.limits.steps, config.early_stopping) {
  if (resume) {
    checkpoint_ = load_newest_checkpoint(
        run_directory, [](const std::string& warning) { say("warning: {}\n", warning); });
    if (!checkpoint_) say("--resume: {} holds no saved state: starting afresh\n", run_directory);
  }
  write_file_durably(directory_.file("environment.json"), environment_json);
  const ControlState state = checkpoint_ ? checkpoint_->state : ControlState{};
  metrics_.emplace(directory_.file("metrics.jsonl"), state.step, state.epoch);
  overfitting_.emplace(read_learning_curves(directory_.file("metrics.jsonl")));
  if (config.logging.tensorboard) tensorboard_.emplace(run_directory, state.step);
}

RunOutput::~RunOutput() {
  if (!ended_.told) return;
  const bool written = report_.finish();
  say("run directory: {}{}\n", directory_.path(), written ? ", with report.html to look at" : "");
}

std::vector<TrainingObserver*> RunOutput::observers() {
  std::vector<TrainingObserver*> list = {&*metrics_, &progress_, &*overfitting_};
  if (tensorboard_) list.push_back(&*tensorboard_);
  list.push_back(&report_);
  list.push_back(&ended_);
  return list;
}

}  // namespace lockstep
