#include "lockstep/launch/terminal/overfitting_lines.h"

#include <limits>
#include <utility>

#include "lockstep/launch/run/metrics_file.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {

OverfittingLines::OverfittingLines(LearningCurves curves) : curves_(std::move(curves)) {}

OverfittingAnalysis OverfittingLines::analysis() const {
  return analyse_curves(curves_, chance_loss_);
}

void OverfittingLines::on_start(const StartReport& report) {
  chance_loss_ = guessing_loss(report.num_classes);
  has_validation_ = report.validation_images > 0;
  warned_ = analysis().overfit_since > 0;
}

void OverfittingLines::on_epoch(const EpochReport& report) {
  add_epoch(curves_,
            report.epoch,
            report.train_loss,
            report.validation_loss.value_or(std::numeric_limits<double>::quiet_NaN()));
  if (warned_) return;
  const OverfittingAnalysis now = analysis();
  if (now.overfit_since == 0) return;
  warned_ = true;
  say("warning: {}\n", overfitting_warning(now, report.epoch));
}

void OverfittingLines::on_end(const EndReport& report) {
  if (!is_finished(report.reason) || !has_validation_) return;
  const OverfittingAnalysis now = analysis();
  if (warned_ && now.overfit_since == 0 && now.verdict != Verdict::kUnstable)
    say("the rise of validation loss did not last:\n");
  say("{}\n", verdict_text(now));
}

}  // namespace lockstep
