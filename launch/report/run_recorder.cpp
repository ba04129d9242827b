#include "lockstep/launch/report/run_recorder.h"

#include "lockstep/core/base/durable_file.h"

namespace lockstep {

RunRecorder::RunRecorder(const std::string& run_directory,
                         const Config& config,
                         bool resume,
                         const std::string& environment_json,
                         const std::function<void(const std::string&)>& warn)
    : directory_(run_directory, config, resume), report_(run_directory) {
  if (resume) checkpoint_ = load_newest_checkpoint(run_directory, warn);
  write_file_durably(directory_.file("environment.json"), environment_json);
  const ControlState state = checkpoint_ ? checkpoint_->state : ControlState{};
  metrics_.emplace(directory_.file("metrics.jsonl"), state.step, state.epoch);
  curves_ = read_learning_curves(directory_.file("metrics.jsonl"));
  if (config.logging.digest_every_steps > 0)
    digests_.emplace(directory_.file("digests.jsonl"), state.step);
  if (config.logging.tensorboard) tensorboard_.emplace(run_directory, state.step);
}

std::vector<TrainingObserver*> RunRecorder::observers() {
  std::vector<TrainingObserver*> list = {&*metrics_};
  if (digests_) list.push_back(&*digests_);
  if (tensorboard_) list.push_back(&*tensorboard_);
  list.push_back(&report_);  // reads what the metrics file was told
  return list;
}

}  // namespace lockstep
