#include "lockstep/launch/terminal/progress_lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

constexpr double kSecondsBetweenLines = 10.0;
constexpr double kSecondsBetweenBars = 0.2;
constexpr int kBarWidth = 24;

std::string bar_of(int64_t done, int64_t all) {
  const auto filled = static_cast<size_t>(kBarWidth * done / std::max<int64_t>(1, all));
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

}  // namespace

std::string early_stopping_words(const EarlyStoppingConfig& stopping, const EndReport& report) {
  std::string text = fmt::format("stopped early after epoch {}: {} has not improved",
                                 report.epochs,
                                 name_of(stopping.quantity));
  if (stopping.min_delta > 0)
    text += fmt::format(" by early_stopping.min_delta={} or more", stopping.min_delta);
  text += fmt::format(" for {}, as early_stopping.patience={} demands",
                      plural(report.epochs_without_improvement, "epoch"),
                      stopping.patience);
  if (stopping.patience == 0) text += " (0 counts as 1)";
  if (report.best_value) {
    text += fmt::format("; best {:.4f} at epoch {}, whose weights are {}",
                        *report.best_value,
                        report.best_epoch,
                        stopping.restore_best
                            ? "tested"
                            : "kept in best.safetensors (early_stopping.restore_best=false: the "
                              "last ones are tested)");
  } else {
    text += "; it never was a finite number";
  }
  return text + fmt::format("\nto wait longer: a higher early_stopping.patience{}",
                            stopping.min_delta > 0 ? " or a lower early_stopping.min_delta" : "");
}

ProgressLines::ProgressLines(int64_t limit_steps, EarlyStoppingConfig stopping)
    : limit_steps_(limit_steps),
      stopping_(std::move(stopping)),
      bar_(isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1 &&
           std::getenv("NO_COLOR") == nullptr) {}

void ProgressLines::clear_bar() {
  if (bar_) write_console("\r\x1b[K");
}

void ProgressLines::on_start(const StartReport& report) {
  start_ = report;
  began_ = last_line_ = Clock::now();
  first_step_ = report.resumed_step;
  say("{}, {}, {} parameters, {} on {} ({}: {})\n",
      report.model,
      report.precision,
      report.parameters,
      plural(report.world_size, "rank"),
      plural(static_cast<int64_t>(report.hosts.size()), "host"),
      report.backend,
      report.device);
  say("{} training, {} validation, {} test images; {} epochs of {} updates of {} images\n",
      report.train_images,
      report.validation_images,
      report.test_images,
      report.epochs,
      report.updates_per_epoch,
      report.batch_size);
  if (report.resumed_step > 0) {
    say("resuming after update {} ({} finished)\n",
        report.resumed_step,
        plural(report.resumed_epoch, "epoch"));
  }
  for (const std::string& note : report.notes) say("{}\n", note);
}

void ProgressLines::on_step(const StepReport& report) {
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_line_).count();
  if (since < (bar_ ? kSecondsBetweenBars : kSecondsBetweenLines)) return;
  last_line_ = now;
  const double elapsed = std::chrono::duration<double>(now - began_).count();
  const auto done = static_cast<double>(std::max<int64_t>(1, report.step - first_step_));
  int64_t last = start_.epochs * start_.updates_per_epoch;
  if (limit_steps_ > 0) last = std::min(last, limit_steps_);
  const auto left = static_cast<double>(last - report.step);
  const std::string text = fmt::format("loss {:.4f}  rate {:.4g}  {:.0f} images/s  {} left",
                                       report.loss,
                                       report.learning_rate,
                                       report.images_per_second,
                                       format_duration(elapsed / done * left));
  if (bar_) {
    write_console(fmt::format("\r\x1b[Kepoch {}/{} [{}] {}",
                              report.epoch,
                              start_.epochs,
                              bar_of(report.batch, report.batches),
                              text));
  } else {
    say("epoch {:>3}/{}  {:>4}/{}  {}\n",
        report.epoch,
        start_.epochs,
        report.batch,
        report.batches,
        text);
  }
}

void ProgressLines::on_epoch(const EpochReport& report) {
  clear_bar();
  std::string line = fmt::format("epoch {:>3}/{}  train loss {:.4f} accuracy {:5.2f} %",
                                 report.epoch,
                                 start_.epochs,
                                 report.train_loss,
                                 100 * report.train_accuracy);
  if (report.validation_loss) {
    line += fmt::format("  validation loss {:.4f} accuracy {:5.2f} %",
                        *report.validation_loss,
                        100 * *report.validation_accuracy);
  }
  line += fmt::format(
      "  {:.0f} images/s  {}", report.images_per_second, format_duration(report.seconds));
  if (report.is_best && report.validation_loss) line += "  best so far";
  say("{}\n", line);
  last_line_ = Clock::now();
}

void ProgressLines::on_end(const EndReport& report) {
  clear_bar();
  if (report.reason == EndReason::kEarlyStopping) {
    say("{}\n", early_stopping_words(stopping_, report));
  } else if (report.reason == EndReason::kInterrupted) {
    say("interrupted after update {}: the state is saved; run again with --resume to go on\n",
        report.steps);
  } else if (report.reason == EndReason::kDiverged) {
    say("diverged at update {}: the gradient is no longer finite. Lower optimizer.learning_rate, "
        "add lr_schedule.warmup, or set "
        "optimizer.clip_gradient_norm\n",
        report.steps + 1);
  }
  if (report.test_accuracy) {
    say("test loss {:.4f} accuracy {:.2f} %  ({} updates, {})\n",
        *report.test_loss,
        100 * *report.test_accuracy,
        report.steps,
        format_duration(report.seconds));
  }
}

}  // namespace lockstep
