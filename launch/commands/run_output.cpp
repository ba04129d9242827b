#include "lockstep/launch/commands/run_output.h"

#include "lockstep/launch/terminal/console.h"

namespace lockstep {

RunOutput::RunOutput(const std::string& run_directory,
                     const Config& config,
                     bool resume,
                     const std::string& environment_json)
    : recorder_(run_directory,
                config,
                resume,
                environment_json,
                [](const std::string& warning) { say("warning: {}\n", warning); }),
      progress_(config.limits.steps,
                config.early_stopping,
                run_directory,
                config.optimizer.not_finite == NotFinite::kRollback),
      overfitting_(recorder_.curves(), config, run_directory) {
  if (resume && !checkpoint())
    say("--resume: {} holds no saved state: starting afresh\n", run_directory);
}

RunOutput::~RunOutput() {
  if (!ended_.told) return;
  const bool written = recorder_.finish();
  say("run directory: {}{}\n",
      recorder_.directory(),
      written ? ", with report.html to look at" : "");
}

std::vector<TrainingObserver*> RunOutput::observers() {
  std::vector<TrainingObserver*> list = recorder_.observers();
  // A run's lines come after what they are about is written.
  list.insert(list.end(), {&progress_, &overfitting_, &ended_});
  return list;
}

}  // namespace lockstep
