#include "lockstep/launch/terminal/progress_lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lockstep/core/base/text.h"
#include "lockstep/core/training/verdict_text.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"
#include "lockstep/launch/terminal/progress_bar.h"

namespace lockstep {
namespace {

constexpr double kSecondsBetweenLines = 10.0;
constexpr double kSecondsBetweenBars = 0.2;

}  // namespace

const char* const kDivergenceAdvice =
    "Start a new run, in another --run-dir, with a lower optimizer.learning_rate, with "
    "lr_schedule.warmup, or with optimizer.clip_gradient_norm";

std::string early_stopping_words(const EarlyStoppingConfig& stopping,
                                 const EndReport& report,
                                 const std::string& directory) {
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
  Config config;
  config.early_stopping = stopping;
  const RunEnding ending{.stopped_early = true, .epochs = report.epochs, .directory = directory};
  return text + fmt::format("\nto wait longer: {}", options_for_longer(config, ending));
}

ProgressLines::ProgressLines(int64_t limit_steps,
                             EarlyStoppingConfig stopping,
                             std::string directory,
                             bool goes_back)
    : limit_steps_(limit_steps),
      stopping_(stopping),
      directory_(std::move(directory)),
      goes_back_(goes_back),
      bar_(terminal_takes_a_bar()) {}

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
  const std::string loss = fmt::format("loss {}", decimals(report.loss, 4));
  const std::string rate = fmt::format("rate {:.4g}", report.learning_rate);
  const std::string speed = fmt::format("{:.0f} images/s", report.images_per_second);
  const std::string rest = format_duration(elapsed / done * left) + " left";
  if (bar_) {
    const std::string title = fmt::format("epoch {}/{}", report.epoch, start_.epochs);
    write_console(
        "\r\x1b[K" +
        progress_bar(
            title, report.batch, report.batches, {loss, rest, speed, rate}, terminal_columns()));
  } else {
    say("epoch {:>3}/{}  {:>4}/{}  {}  {}  {}  {}\n",
        report.epoch,
        start_.epochs,
        report.batch,
        report.batches,
        loss,
        rate,
        speed,
        rest);
  }
}

void ProgressLines::on_epoch(const EpochReport& report) {
  clear_bar();
  std::string line = fmt::format("epoch {:>3}/{}  train loss {} accuracy {:5.2f} %",
                                 report.epoch,
                                 start_.epochs,
                                 decimals(report.train_loss, 4),
                                 100 * report.train_accuracy);
  if (report.validation_loss) {
    line += fmt::format("  validation loss {} accuracy {:5.2f} %",
                        decimals(*report.validation_loss, 4),
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
    say("{}\n", early_stopping_words(stopping_, report, directory_));
  } else if (report.reason == EndReason::kInterrupted) {
    say("interrupted after update {}: the state is saved; the same command with --run-dir {} "
        "--resume goes on\n",
        report.steps,
        shell_word(directory_));
  } else if (report.reason == EndReason::kDiverged) {
    say("diverged at update {}: the gradient is no longer finite{}\n",
        report.steps + 1,
        goes_back_ ? "" : ". " + std::string(kDivergenceAdvice));
  }
  if (report.test_accuracy) {
    say("test loss {} accuracy {:.2f} %  ({} updates, {})\n",
        decimals(*report.test_loss, 4),
        100 * *report.test_accuracy,
        report.steps,
        format_duration(report.seconds));
  }
}

}  // namespace lockstep
