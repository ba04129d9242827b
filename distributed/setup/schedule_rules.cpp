// When a learning-rate schedule or early stopping cannot do what was set.
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "lockstep/core/training/lr_schedule.h"
#include "lockstep/core/training/overfitting.h"
#include "lockstep/distributed/setup/setting_rules.h"

namespace lockstep {
namespace {

using Weight = SettingRule::Weight;

bool counts_updates(const Config& config) {
  return config.lr_schedule.step_every == ScheduleUnit::kUpdate;
}

// The run's length in the schedule's units.
int64_t run_units(const Config& config, const RunSituation& run) {
  return counts_updates(config) ? run.all_updates(config) : config.epochs;
}

std::string run_length(const Config& config, const RunSituation& run) {
  return fmt::format(
      "the run's {} {}s", run_units(config, run), name_of(config.lr_schedule.step_every));
}

// The rate after `unit` of those units.
double rate_at(const Config& config, const RunSituation& run, int64_t unit) {
  return learning_rate(config.lr_schedule,
                       base_learning_rate(config),
                       {.epoch = unit,
                        .update = unit,
                        .updates_per_epoch = run.updates_per_epoch(config),
                        .epochs = config.epochs});
}

bool follows_validation(const Config& config) {
  return config.lr_schedule.name->after_epoch != nullptr;
}

bool is_constant(const Config& config) {
  return config.lr_schedule.name == "constant" || follows_validation(config);
}

SettingRule of_schedules(std::vector<std::string> keys, std::vector<std::string> schedules) {
  return {std::move(keys),
          [schedules = std::move(schedules)](const Config& config, const RunSituation&) {
            const std::string name = name_of(config.lr_schedule.name);
            if (std::ranges::find(schedules, name) != schedules.end()) return std::string();
            return fmt::format("no effect, since lr_schedule.name is {}", name);
          }};
}

std::string too_long_warmup(const Config& config, const RunSituation& run) {
  if (config.lr_schedule.warmup < run_units(config, run)) return "";
  return fmt::format("{} are over before the warm-up is: the rate never reaches {:.4g}",
                     run_length(config, run),
                     base_learning_rate(config));
}

std::string rate_never_changes(const Config& config, const RunSituation& run) {
  constexpr int64_t kMostTried = 100'000;
  const int64_t first = config.lr_schedule.warmup, end = run_units(config, run);
  if (is_constant(config) || first >= end || base_learning_rate(config) == 0) return "";
  const double rate = rate_at(config, run, first);
  for (int64_t unit = first; unit < std::min(end, first + kMostTried); ++unit) {
    if (rate_at(config, run, unit) != rate) return "";
  }
  if (rate_at(config, run, end - 1) != rate) return "";
  return fmt::format("the rate stays at {:.4g} throughout {}", rate, run_length(config, run));
}

std::string milestones_beyond_the_end(const Config& config, const RunSituation& run) {
  const LrScheduleConfig& schedule = config.lr_schedule;
  if (schedule.name != "multi_step") return "";
  std::vector<int64_t> beyond;
  std::ranges::copy_if(schedule.milestones, std::back_inserter(beyond), [&](int64_t milestone) {
    return schedule.warmup + milestone >= run_units(config, run);
  });
  if (beyond.empty()) return "";
  return fmt::format("[{}] {} not reached within {}",
                     fmt::join(beyond, ", "),
                     beyond.size() > 1 ? "are" : "is",
                     run_length(config, run));
}

std::string total_unlike_the_run(const Config& config, const RunSituation& run) {
  const LrScheduleConfig& schedule = config.lr_schedule;
  if (schedule.total == 0 || is_constant(config)) return "";
  if (schedule.restart_period > 0 && schedule.name == "cosine")
    return "no effect, since restarts (lr_schedule.restart_period) have no end";
  const int64_t end = schedule.warmup + schedule.total, units = run_units(config, run);
  if (end > units) {
    return fmt::format("{} end before the schedule does, at a rate of {:.4g}",
                       run_length(config, run),
                       rate_at(config, run, units - 1));
  }
  if (end == units) return "";
  return fmt::format("the rate stays at {:.4g} for the last {} of {}",
                     rate_at(config, run, units - 1),
                     units - end,
                     run_length(config, run));
}

std::string no_restart(const Config& config, const RunSituation& run) {
  const LrScheduleConfig& schedule = config.lr_schedule;
  if (schedule.restart_period == 0 || schedule.name != "cosine") return "";
  if (schedule.warmup + schedule.restart_period < run_units(config, run)) return "";
  return fmt::format("no restart comes within {}", run_length(config, run));
}

std::string minimum_above_base(const Config& config, const RunSituation&) {
  const double base = base_learning_rate(config), least = config.lr_schedule.minimum_learning_rate;
  const bool bounds = config.lr_schedule.name == "cosine" || follows_validation(config);
  if (!bounds || least <= base) return "";
  return fmt::format(
      "it is above the rate {:.4g} that the schedule begins with, and the rate would rise to it: "
      "set it below",
      base);
}

std::string plateau_without_validation(const Config& config, const RunSituation& run) {
  if (!follows_validation(config) || run.validation_images > 0) return "";
  return fmt::format(
      "it follows {}, but no images are held out for validation (data.validation_fraction={}): "
      "raise that, or choose another schedule",
      name_of(config.lr_schedule.plateau_quantity),
      config.data.validation_fraction);
}

std::string plateau_never_reduces(const Config& config, const RunSituation&) {
  const int64_t patience = config.lr_schedule.plateau_patience;
  const EarlyStoppingConfig& stopping = config.early_stopping;
  if (!follows_validation(config)) return "";
  // The first epoch is always an improvement, and the rate is reduced for the epoch after.
  if (patience + 2 >= config.epochs)
    return fmt::format("the run's {} epochs are too few for a lower rate", config.epochs);
  const bool same = stopping.quantity == config.lr_schedule.plateau_quantity;
  if (!stopping.enabled || !same || std::max<int64_t>(1, stopping.patience) > patience) return "";
  return fmt::format(
      "the run is likely to stop before its rate is lowered: early_stopping.patience={} is not "
      "above it",
      stopping.patience);
}

std::string too_much_patience(const Config& config, const RunSituation&) {
  const EarlyStoppingConfig& stopping = config.early_stopping;
  if (!stopping.enabled) return "no effect, since early_stopping.enabled is false";
  if (std::max<int64_t>(1, stopping.patience) + 1 < config.epochs) return "";
  return fmt::format("no effect: the run's {} epochs are too few for an early stop", config.epochs);
}

std::string unreachable_improvement(const Config& config, const RunSituation& run) {
  const EarlyStoppingConfig& stopping = config.early_stopping;
  const double most = stopping.quantity->larger_is_better ? 1.0 : guessing_loss(run.num_classes);
  if (run.validation_images == 0 || stopping.min_delta < most) return "";
  return fmt::format(
      "{} cannot improve by so much ({}): the first epoch will stay the best",
      name_of(stopping.quantity),
      stopping.quantity->larger_is_better
          ? "it is a part of 1"
          : fmt::format("guessing among {} classes has {:.2f}", run.num_classes, most));
}

std::vector<SettingRule> early_stopping_rules() {
  return {
      {{"early_stopping.quantity",
        "early_stopping.patience",
        "early_stopping.min_delta",
        "early_stopping.restore_best"},
       [](const Config&, const RunSituation& run) {
         return run.validation_images > 0 ? "" : "no effect, since no images are validated";
       }},
      {{"early_stopping.patience"},
       [](const Config& config, const RunSituation& run) {
         return run.validation_images > 0 ? too_much_patience(config, run) : "";
       }},
      {{"early_stopping.min_delta"}, unreachable_improvement},
      {{"early_stopping.restore_best"},
       [](const Config&, const RunSituation& run) {
         return run.test_images > 0 ? "" : "no effect, since there are no test images";
       }},
  };
}

}  // namespace

std::vector<SettingRule> schedule_rules() {
  const std::string s = "lr_schedule.";
  std::vector<SettingRule> rules = {
      {{s + "name"}, plateau_without_validation, Weight::kRefuse},
      {{s + "minimum_learning_rate"}, minimum_above_base, Weight::kRefuse},
      of_schedules({s + "step_size"}, {"step"}),
      of_schedules({s + "gamma"}, {"step", "multi_step", "exponential"}),
      of_schedules({s + "milestones"}, {"multi_step"}),
      of_schedules({s + "power"}, {"polynomial"}),
      of_schedules({s + "total"}, {"polynomial", "cosine", "one_cycle"}),
      of_schedules({s + "minimum_learning_rate"}, {"cosine", "plateau"}),
      of_schedules({s + "restart_period", s + "restart_multiplier"}, {"cosine"}),
      of_schedules({s + "one_cycle_rise_fraction",
                    s + "one_cycle_initial_divisor",
                    s + "one_cycle_final_divisor",
                    s + "one_cycle_anneal"},
                   {"one_cycle"}),
      of_schedules({s + "plateau_factor",
                    s + "plateau_patience",
                    s + "plateau_threshold",
                    s + "plateau_cooldown",
                    s + "plateau_quantity"},
                   {"plateau"}),
      {{s + "step_every"},
       [](const Config& config, const RunSituation&) {
         return is_constant(config) && config.lr_schedule.warmup == 0
                    ? fmt::format("no effect, since lr_schedule.name is {} and there is no warm-up",
                                  name_of(config.lr_schedule.name))
                    : "";
       }},
      {{s + "warmup"}, too_long_warmup},
      {{s + "warmup_start_factor"},
       [](const Config& config, const RunSituation&) {
         return config.lr_schedule.warmup > 0 ? "" : "no effect, since lr_schedule.warmup is 0";
       }},
      {{s + "name"}, rate_never_changes},
      {{s + "milestones"}, milestones_beyond_the_end},
      {{s + "total"}, total_unlike_the_run},
      {{s + "restart_period"}, no_restart},
      {{s + "restart_multiplier"},
       [](const Config& config, const RunSituation&) {
         return config.lr_schedule.name == "cosine" && config.lr_schedule.restart_period == 0
                    ? "no effect, since lr_schedule.restart_period is 0"
                    : "";
       }},
      {{s + "plateau_patience"}, plateau_never_reduces, Weight::kAlways},
  };
  std::ranges::move(early_stopping_rules(), std::back_inserter(rules));
  return rules;
}

}  // namespace lockstep
