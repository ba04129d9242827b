// What the loss curves say, for people: a warning when overfitting begins, a verdict at the end.
#pragma once

#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/overfitting.h"
#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

// Writes to stdout; silent where there are no validation images. The warning comes once a run: not
// again in a resumed one whose earlier epochs had it. The verdict comes at the end of a run that is
// over, not of one that was interrupted or diverged.
class OverfittingLines final : public TrainingObserver {
 public:
  // `curves`: of the epochs before this start of the run, which is kept in `directory`.
  explicit OverfittingLines(LearningCurves curves, Config config = {}, std::string directory = {});
  void on_start(const StartReport& report) override;
  void on_epoch(const EpochReport& report) override;
  void on_end(const EndReport& report) override;

 private:
  OverfittingAnalysis analysis() const;

  LearningCurves curves_;
  Config config_;
  std::string directory_;
  double chance_loss_ = 0;
  bool has_validation_ = false;
  bool warned_ = false;
};

}  // namespace lockstep
