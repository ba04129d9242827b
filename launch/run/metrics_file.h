// metrics.jsonl: one JSON object a line, "event" first.
#pragma once

#include <string>

#include "lockstep/core/training/overfitting.h"
#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/launch/run/appended_file.h"

namespace lockstep {

// start, step, epoch and end lines; numbers that are not finite are null. The end line tells what
// the loss curves of all epochs say, resumed ones included. Each line is written whole and at once.
// A file that cannot be written to any longer costs a warning, not the run.
class MetricsFile final : public TrainingObserver {
 public:
  // Appends to `path`, after dropping what a resumed run will report again: lines of updates after
  // `resumed_step`, of epochs after `resumed_epoch` (one that a limit cut short has a line too),
  // and of a run's end. A run that starts afresh (0, 0) keeps nothing. Throws Error(kInputOutput).
  MetricsFile(const std::string& path, int64_t resumed_step, int64_t resumed_epoch);
  void on_start(const StartReport& report) override;
  void on_step(const StepReport& report) override;
  void on_epoch(const EpochReport& report) override;
  void on_end(const EndReport& report) override;

 private:
  void write(const std::string& line);
  std::string path_;
  AppendedFile file_;
  int64_t num_classes_ = 0;
  double ema_decay_ = 0;
};

// The losses of the epochs that a metrics.jsonl tells of; a missing or damaged file gives none.
LearningCurves read_learning_curves(const std::string& path);

// One epoch's losses more. Epochs that were skipped are not known (NaN).
void add_epoch(LearningCurves& curves, int64_t epoch, double train_loss, double validation_loss);

}  // namespace lockstep
