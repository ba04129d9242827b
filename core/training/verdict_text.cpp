#include "lockstep/core/training/verdict_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/core/base/text.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/lr_schedule.h"

namespace lockstep {
namespace {

constexpr double kWideGap = 0.5;  // relative to the validation loss

std::string plural_epochs(int64_t count) {
  return fmt::format("{} epoch{}", count, count == 1 ? "" : "s");
}

std::string sweet_spot_words(const OverfittingAnalysis& a) {
  return fmt::format(
      "validation loss was lowest at epoch {} ({:.4f}, smoothed; gap to training loss {:.4f}, at "
      "the end {:.4f})",
      a.sweet_spot_epoch,
      a.sweet_spot_loss,
      a.gap_at_sweet_spot,
      a.final_gap);
}

// What validation loss did after that, in a run that is not called overfit.
std::string since_words(const OverfittingAnalysis& a) {
  if (!rose_since(a)) return "has not risen since";
  return fmt::format("ended {:.4f} above that, too little or too briefly to be called overfitting",
                     a.final_validation_loss - a.sweet_spot_loss);
}

constexpr const char* kAgainstOverfitting =
    "more augmentation (data.augmentation.mixup, cutmix, random_erasing, cutout), a higher "
    "optimizer.weight_decay, model.dropout where the model has it, or more images";

bool augments(const AugmentationConfig& a) {
  return a.pad_crop > 0 || a.flip || a.cutout > 0 || a.random_erasing > 0 || a.mixup > 0 ||
         a.cutmix > 0;
}

std::string against_underfitting(const Config& config) {
  std::string text =
      "a larger model (model.name), another optimizer.learning_rate or lr_schedule.name";
  if (augments(config.data.augmentation)) text += ", less augmentation (data.augmentation.*)";
  if (config.optimizer.weight_decay > 0) text += ", a lower optimizer.weight_decay";
  if (config.model.dropout != 0) text += ", model.dropout=0 where the model has dropout";
  return text;
}

std::string good_text(const OverfittingAnalysis& a) {
  if (a.final_gap > kWideGap * a.final_validation_loss) {
    return fmt::format(
        "good, with a wide gap: {} and {}, but training images are learnt far better than "
        "others\nto narrow it, in a new run: {}",
        sweet_spot_words(a),
        since_words(a),
        kAgainstOverfitting);
  }
  return fmt::format(
      "good: {} and {}\nto go further, in a new run: a larger model (model.name) or another "
      "lr_schedule.name",
      sweet_spot_words(a),
      since_words(a));
}

std::string overfitting_text(const OverfittingAnalysis& a, const Config& config) {
  return fmt::format(
      "overfitting since epoch {}: validation loss rises while training loss falls; {}\nto "
      "change, in a new run: fewer epochs or {}; {}",
      a.overfit_since,
      sweet_spot_words(a),
      config.early_stopping.enabled ? "a lower early_stopping.patience"
                                    : "early_stopping.enabled=true",
      kAgainstOverfitting);
}

std::string lagging_text(const Config& config, const RunEnding& ending) {
  const double decay = config.optimizer.ema_decay, fitting = fitting_decay(ending.updates);
  return fmt::format(
      "not to be judged: validated and tested is the average of the weights "
      "(optimizer.ema_decay={}), of which after {} updates {:.3g} % is still what training began "
      "with\nto change, in a new run: optimizer.ema_decay={:.6g}{}",
      decay,
      ending.updates,
      100 * initial_share(decay, ending.updates),
      fitting,
      fitting > 0 ? " or less" : " (no averaging), or far more epochs");
}

}  // namespace

std::string options_for_longer(const Config& config,
                               const RunEnding& ending,
                               int64_t least_epochs) {
  const std::string go_on =
      ending.directory.empty() ? "--resume"
                               : fmt::format("--run-dir {} --resume", shell_word(ending.directory));
  const int64_t done = std::max<int64_t>(1, ending.epochs);
  const int64_t times = std::max<int64_t>(2, (least_epochs + done - 1) / done);
  if (ending.stopped_early) {
    const int64_t patience = std::max<int64_t>(1, config.early_stopping.patience);
    return fmt::format("{} --set early_stopping.patience={}", go_on, times * patience);
  }
  if (config.limits.steps > 0 && ending.epochs < config.epochs)
    return fmt::format("{} --set limits.steps=0", go_on);
  const int64_t epochs = times * config.epochs;
  if (!spans_the_run(config.lr_schedule)) return fmt::format("{} --set epochs={}", go_on, epochs);
  return fmt::format(
      "a new run with --set epochs={} (lr_schedule.name={} spans the run: --resume keeps "
      "epochs={})",
      epochs,
      name_of(config.lr_schedule.name),
      config.epochs);
}

std::string verdict_text(const OverfittingAnalysis& a,
                         const Config& config,
                         const RunEnding& ending) {
  switch (a.verdict) {
    case Verdict::kTooShort:
      return fmt::format(
          "too short to judge: {} with both training and validation loss\nto change: {} or more: "
          "{}",
          plural_epochs(a.epochs),
          plural_epochs(kLeastEpochsToJudge),
          options_for_longer(config, ending, kLeastEpochsToJudge));
    case Verdict::kAverageLags:
      return lagging_text(config, ending);
    case Verdict::kUnderfit:
      return fmt::format(
          "underfit: training loss {:.4f} and validation loss {:.4f} are both high and no longer "
          "fall\nto change, in a new run: {}",
          a.final_train_loss,
          a.final_validation_loss,
          against_underfitting(config));
    case Verdict::kStillImproving:
      return fmt::format("still improving: {}, and was still falling at the end\nto go on: {}",
                         sweet_spot_words(a),
                         options_for_longer(config, ending));
    case Verdict::kGood:
      return good_text(a);
    case Verdict::kOverfitting:
      return overfitting_text(a, config);
    case Verdict::kUnstable:
      return fmt::format(
          "unstable: {}, and training loss has not fallen since either\nto change, in a new run: a "
          "lower optimizer.learning_rate, lr_schedule.warmup, or optimizer.clip_gradient_norm",
          sweet_spot_words(a));
  }
  return "";
}

std::string overfitting_warning(const OverfittingAnalysis& a, int64_t epoch) {
  return fmt::format(
      "overfitting since epoch {}, seen after epoch {}: validation loss rises while training loss "
      "falls. It was lowest at epoch {} ({:.4f}, smoothed). "
      "Stop, since the best weights so far are kept, or start a new run with {}",
      a.overfit_since,
      epoch,
      a.sweet_spot_epoch,
      a.sweet_spot_loss,
      kAgainstOverfitting);
}

}  // namespace lockstep
