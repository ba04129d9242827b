#include "lockstep/core/training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double cosine_between(double start, double end, double fraction) {
  return end + (start - end) * 0.5 * (1.0 + std::cos(std::numbers::pi * fraction));
}

// Loshchilov and Hutter 2017: position within the current period, periods growing by the
// multiplier. Restarts have no end, so `total` does not matter to them.
double restarted_fraction(int64_t t, int64_t period, int64_t multiplier) {
  if (multiplier <= 1) return static_cast<double>(t % period) / static_cast<double>(period);
  while (t >= period) {
    t -= period;
    period *= multiplier;
  }
  return static_cast<double>(t) / static_cast<double>(period);
}

double constant_rate(const LrScheduleConfig&, double base, int64_t, int64_t) { return base; }

double step_rate(const LrScheduleConfig& s, double base, int64_t t, int64_t) {
  const int64_t whole_steps = t / s.step_size;
  return base * std::pow(s.gamma, static_cast<double>(whole_steps));
}

double multi_step_rate(const LrScheduleConfig& s, double base, int64_t t, int64_t) {
  const auto passed = std::count_if(
      s.milestones.begin(), s.milestones.end(), [&](int64_t milestone) { return t >= milestone; });
  return base * std::pow(s.gamma, static_cast<double>(passed));
}

double exponential_rate(const LrScheduleConfig& s, double base, int64_t t, int64_t) {
  return base * std::pow(s.gamma, static_cast<double>(t));
}

double polynomial_rate(const LrScheduleConfig& s, double base, int64_t t, int64_t total) {
  return base * std::pow(1.0 - static_cast<double>(std::min(t, total)) / static_cast<double>(total),
                         s.power);
}

double cosine_rate(const LrScheduleConfig& s, double base, int64_t t, int64_t total) {
  const double fraction =
      s.restart_period > 0 ? restarted_fraction(t, s.restart_period, s.restart_multiplier)
                           : static_cast<double>(std::min(t, total)) / static_cast<double>(total);
  return cosine_between(base, s.minimum_learning_rate, fraction);
}

// Smith and Topin 2018, in PyTorch's two-phase form.
double one_cycle_rate(const LrScheduleConfig& s, double peak, int64_t t, int64_t total) {
  const double first = peak / s.one_cycle_initial_divisor;
  const double last = first / s.one_cycle_final_divisor;
  const double rise_end = s.one_cycle_rise_fraction * static_cast<double>(total) - 1.0;
  const double end = static_cast<double>(total) - 1.0;
  const auto between = [&](double a, double b, double fraction) {
    return s.one_cycle_anneal == AnnealShape::kLinear ? a + (b - a) * fraction
                                                      : cosine_between(a, b, fraction);
  };
  const auto position = static_cast<double>(std::min(t, total - 1));
  if (position <= rise_end && rise_end > 0) return between(first, peak, position / rise_end);
  return end > rise_end ? between(peak, last, (position - rise_end) / (end - rise_end)) : last;
}

void need_milestones(const Config& config) {
  if (!config.lr_schedule.milestones.empty()) return;
  throw_error(ExitCode::kUsage,
              "lr_schedule.name is multi_step, but lr_schedule.milestones is empty: name the {}s "
              "after which the rate is reduced, such as [15, 25]",
              name_of(config.lr_schedule.step_every));
}

void need_validation(const Config& config) {
  if (config.data.validation_fraction != 0) return;
  throw_error(ExitCode::kUsage,
              "lr_schedule.name is plateau, which watches {}, but data.validation_fraction is 0: "
              "set it above 0 or choose another schedule",
              name_of(config.lr_schedule.plateau_quantity));
}

// A new schedule is a function above and a row here.
constexpr LrSchedule kSchedules[] = {
    {"constant", "the base rate throughout", constant_rate},
    {"step", "times gamma every step_size units", step_rate},
    {"multi_step",
     "times gamma at each of the milestones",
     multi_step_rate,
     nullptr,
     need_milestones},
    {"exponential", "times gamma every unit", exponential_rate},
    {"polynomial", "to zero along (1 - t / total) to the power of `power`", polynomial_rate},
    {"cosine",
     "half a cosine wave to minimum_learning_rate, with restarts if asked for",
     cosine_rate},
    {"one_cycle",
     "up to the base rate, then down to nearly nothing (Smith and Topin 2018)",
     one_cycle_rate},
    {"plateau",
     "lowered when the watched quantity no longer improves",
     constant_rate,
     plateau_after_epoch,
     need_validation},
};

}  // namespace

std::span<const LrSchedule> LrSchedule::table() { return kSchedules; }

double learning_rate(const LrScheduleConfig& schedule,
                     double base_learning_rate,
                     const SchedulePosition& position) {
  const bool by_update = schedule.step_every == ScheduleUnit::kUpdate;
  const int64_t t = by_update ? position.update : position.epoch;
  const int64_t run = by_update ? position.epochs * position.updates_per_epoch : position.epochs;
  if (t < schedule.warmup) {
    const double start = schedule.warmup_start_factor;
    return base_learning_rate *
           (start + (1.0 - start) * static_cast<double>(t) / static_cast<double>(schedule.warmup));
  }
  const int64_t total = schedule.total > 0 ? schedule.total : run - schedule.warmup;
  return schedule.name->rate(
      schedule, base_learning_rate, t - schedule.warmup, std::max<int64_t>(1, total));
}

bool spans_the_run(LrScheduleConfig schedule) {
  schedule.warmup = 0;
  // Tried rather than listed: so it holds of any schedule. Units of both kinds are alike here.
  constexpr int64_t kFew = 8;
  for (int64_t t = 0; t < kFew; ++t) {
    const auto rate = [&](int64_t epochs) {
      return learning_rate(
          schedule, 1.0, {.epoch = t, .update = t, .updates_per_epoch = 1, .epochs = epochs});
    };
    if (rate(kFew) != rate(2 * kFew)) return true;
  }
  return false;
}

double base_learning_rate(const Config& config) {
  const int64_t reference = config.optimizer.scale_learning_rate_from_batch;
  const double factor =
      reference > 0 ? static_cast<double>(config.batch_size) / static_cast<double>(reference) : 1.0;
  return config.optimizer.learning_rate * factor;
}

PlateauState plateau_after_epoch(const LrScheduleConfig& schedule,
                                 double base_learning_rate,
                                 PlateauState state,
                                 double value) {
  const bool smaller_is_better = !schedule.plateau_quantity->larger_is_better;
  const double margin =
      smaller_is_better ? 1.0 - schedule.plateau_threshold : 1.0 + schedule.plateau_threshold;
  // Without a best so far anything beats it but the worst value of all; NaN never does.
  const double worst = smaller_is_better ? kInfinity : -kInfinity;
  const double bound = state.has_best ? state.best * margin : worst;
  const bool better = smaller_is_better ? value < bound : value > bound;
  if (better) {
    state.best = value;
    state.has_best = true;
    state.bad_epochs = 0;
  } else {
    ++state.bad_epochs;
  }
  if (state.cooldown_left > 0) {
    --state.cooldown_left;
    state.bad_epochs = 0;
  }
  if (state.bad_epochs > schedule.plateau_patience) {
    const double rate = base_learning_rate * state.factor;
    const double reduced = std::max(rate * schedule.plateau_factor, schedule.minimum_learning_rate);
    // ReduceLROnPlateau leaves changes below its eps of 1e-8 undone.
    if (rate - reduced > 1e-8) state.factor = reduced / base_learning_rate;
    state.cooldown_left = schedule.plateau_cooldown;
    state.bad_epochs = 0;
  }
  return state;
}

}  // namespace lockstep
