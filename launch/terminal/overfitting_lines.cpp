#include "lockstep/launch/terminal/overfitting_lines.h"

#include <limits>
#include <utility>

#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/verdict_text.h"
#include "lockstep/launch/run/metrics_file.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {

OverfittingLines::OverfittingLines(LearningCurves curves, Config config, std::string directory)
    : curves_(std::move(curves)), config_(std::move(config)), directory_(std::move(directory)) {}

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
  OverfittingAnalysis now = analysis();
  if (warned_ && now.overfit_since == 0 && now.verdict != Verdict::kUnstable)
    say("the rise of validation loss did not last:\n");
  if (average_lags(config_.optimizer.ema_decay, report.steps)) now.verdict = Verdict::kAverageLags;
  const RunEnding ending{.stopped_early = report.reason == EndReason::kEarlyStopping,
                         .epochs = report.epochs,
                         .updates = report.steps,
                         .directory = directory_};
  say("{}\n", verdict_text(now, config_, ending));
}

}  // namespace lockstep
