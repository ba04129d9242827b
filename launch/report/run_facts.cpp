#include "lockstep/launch/report/run_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/verdict_text.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/run/metrics_file.h"

namespace lockstep {
namespace {

LearningCurves learning_curves(const RunRecord& run) {
  LearningCurves curves;
  for (const EpochRecord& epoch : run.epochs)
    add_epoch(curves, epoch.epoch, epoch.train_loss, epoch.validation_loss);
  return curves;
}

std::string description(const RunRecord& run) {
  std::string text = run.model.empty() ? "model not recorded" : run.model;
  if (!run.precision.empty()) text += ", " + run.precision;
  if (run.world_size > 0)
    text +=
        fmt::format(", {} on {}", plural(run.world_size, "rank"), plural(run.num_hosts, "host"));
  return text;
}

void tell_no_end(const RunRecord& run, RunFacts& facts) {
  if (run.num_starts == 0) {
    facts.ending = "not started";
    facts.ending_text = "No training is recorded here.";
  } else {
    facts.ending = "no end recorded";
    facts.tone = "warn";
    facts.ending_text = fmt::format(
        "No end is recorded after update {}: the run is still going on, or it was killed.",
        run.last_step);
  }
}

void tell_ending(const RunRecord& run, RunFacts& facts) {
  if (!run.end_reason) return tell_no_end(run, facts);
  switch (*run.end_reason) {
    case EndReason::kCompleted:
      facts.ending = "completed";
      facts.tone = "good";
      facts.ending_text = fmt::format("Trained to its end: {}.", plural(run.last_step, "update"));
      return;
    case EndReason::kEarlyStopping: {
      facts.ending = "stopped early";
      facts.tone = "good";
      const std::string patience = run.setting("early_stopping.patience");
      facts.ending_text = fmt::format(
          "Stopped early in epoch {}: no improvement since epoch {}{}.",
          facts.epochs_trained,
          run.best_epoch,
          patience.empty() ? "" : fmt::format(" (early_stopping.patience {})", patience));
      return;
    }
    case EndReason::kInterrupted:
      facts.ending = "interrupted";
      facts.tone = "warn";
      facts.ending_text = fmt::format(
          "Interrupted after update {}; its state is saved, and --resume goes on.", run.last_step);
      return;
    case EndReason::kDiverged:
      facts.ending = "diverged";
      facts.tone = "bad";
      facts.ending_text = fmt::format(
          "Diverged after update {}: the gradient was no longer finite. Start a new run with a "
          "lower optimizer.learning_rate, lr_schedule.warmup, or optimizer.clip_gradient_norm.",
          run.last_step);
      return;
  }
}

// The defaults where it is not known, or of another program version.
Config configuration_of(const RunRecord& run) {
  std::vector<std::string> assignments;
  for (const auto& [key, value] : run.configuration)
    assignments.push_back(fmt::format("{}={}", key, value));
  try {
    return parse_config("", assignments, run.directory);
  } catch (const Error&) {
    return {};
  }
}

void judge(const RunRecord& run, int64_t num_classes, RunFacts& facts) {
  const Config config = configuration_of(run);
  facts.analysis = analyse_curves(learning_curves(run), guessing_loss(num_classes));
  if (average_lags(config.optimizer.ema_decay, run.last_step))
    facts.analysis.verdict = Verdict::kAverageLags;
  facts.verdict = verdict_text(facts.analysis,
                               config,
                               {.stopped_early = run.end_reason == EndReason::kEarlyStopping,
                                .epochs = facts.epochs_trained,
                                .updates = run.last_step,
                                .directory = run.directory});
}

}  // namespace

RunFacts run_facts(const RunRecord& run) {
  RunFacts facts;
  facts.description = description(run);
  double images = 0, seconds = 0;
  for (const EpochRecord& epoch : run.epochs) {
    facts.epochs_trained = epoch.epoch;
    if (std::isfinite(epoch.validation_accuracy))
      facts.best_validation_accuracy =
          std::isfinite(facts.best_validation_accuracy)
              ? std::max(facts.best_validation_accuracy, epoch.validation_accuracy)
              : epoch.validation_accuracy;
    if (epoch.seconds > 0 && epoch.images_per_second > 0) {
      images += epoch.images_per_second * epoch.seconds;
      seconds += epoch.seconds;
    }
  }
  if (seconds > 0) facts.images_per_second = images / seconds;
  // Runs of older programs tell the number of classes only by their predictions.
  int64_t classes = run.num_classes;
  if (classes < 1 && run.predictions) classes = run.predictions->summary.num_classes;
  judge(run, classes, facts);
  tell_ending(run, facts);
  return facts;
}

}  // namespace lockstep
