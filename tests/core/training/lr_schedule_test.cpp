#include "lockstep/core/training/lr_schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace lockstep {
namespace {

using nlohmann::json;

// What PyTorch's schedulers gave: written by make_schedule_golden.py.
json golden(const char* part) {
  std::ifstream file(LOCKSTEP_SOURCE_DIR "/tests/core/training/schedule_golden.json");
  return json::parse(file).at(part);
}

LrScheduleConfig schedule_from(const json& keys) {
  LrScheduleConfig s;
  s.name = keys.at("name").get<std::string>();
  s.warmup = keys.value("warmup", s.warmup);
  s.warmup_start_factor = keys.value("warmup_start_factor", s.warmup_start_factor);
  s.step_size = keys.value("step_size", s.step_size);
  s.gamma = keys.value("gamma", s.gamma);
  s.milestones = keys.value("milestones", s.milestones);
  s.power = keys.value("power", s.power);
  s.total = keys.value("total", s.total);
  s.minimum_learning_rate = keys.value("minimum_learning_rate", s.minimum_learning_rate);
  s.restart_period = keys.value("restart_period", s.restart_period);
  s.restart_multiplier = keys.value("restart_multiplier", s.restart_multiplier);
  s.one_cycle_rise_fraction = keys.value("one_cycle_rise_fraction", s.one_cycle_rise_fraction);
  s.one_cycle_initial_divisor =
      keys.value("one_cycle_initial_divisor", s.one_cycle_initial_divisor);
  s.one_cycle_final_divisor = keys.value("one_cycle_final_divisor", s.one_cycle_final_divisor);
  s.one_cycle_anneal = value_called<AnnealShape>(keys.value("one_cycle_anneal", "cosine"));
  s.plateau_factor = keys.value("plateau_factor", s.plateau_factor);
  s.plateau_patience = keys.value("plateau_patience", s.plateau_patience);
  s.plateau_threshold = keys.value("plateau_threshold", s.plateau_threshold);
  s.plateau_cooldown = keys.value("plateau_cooldown", s.plateau_cooldown);
  s.plateau_quantity = keys.value("plateau_quantity", "validation_loss");
  return s;
}

double number_from(const json& value) {
  return value.is_string() ? std::stod(value.get<std::string>()) : value.get<double>();
}

// The slack at rates near 0 is for cosines: 1 + cos(x) near x = pi is exact to 1e-16 of 1 only.
void expect_equal_rates(double rate, double expected, double base, const std::string& what) {
  EXPECT_NEAR(rate, expected, 1e-12 * std::abs(expected) + 1e-15 * base) << what;
}

SchedulePosition at_epoch(int64_t epoch, int64_t epochs = 1000) {
  return {.epoch = epoch, .update = 7 * epoch, .updates_per_epoch = 7, .epochs = epochs};
}

SchedulePosition at_update(int64_t update, int64_t updates_per_epoch, int64_t epochs = 1000) {
  return {.epoch = update / updates_per_epoch,
          .update = update,
          .updates_per_epoch = updates_per_epoch,
          .epochs = epochs};
}

TEST(LrSchedule, EqualsPyTorchsSchedulersByEpoch) {
  const json cases = golden("schedules");
  ASSERT_GT(cases.size(), 100u);
  for (const json& c : cases) {
    const LrScheduleConfig schedule = schedule_from(c.at("lr_schedule"));
    const double base = c.at("base");
    for (size_t t = 0; t < c.at("rates").size(); ++t) {
      expect_equal_rates(learning_rate(schedule, base, at_epoch(static_cast<int64_t>(t))),
                         c.at("rates")[t],
                         base,
                         fmt::format("{} at {}", c.at("lr_schedule").dump(), t));
    }
  }
}

TEST(LrSchedule, EqualsPyTorchsSchedulersByUpdate) {
  for (const json& c : golden("schedules")) {
    LrScheduleConfig schedule = schedule_from(c.at("lr_schedule"));
    schedule.step_every = ScheduleUnit::kUpdate;
    const double base = c.at("base");
    for (size_t t = 0; t < c.at("rates").size(); ++t) {
      expect_equal_rates(learning_rate(schedule, base, at_update(static_cast<int64_t>(t), 9)),
                         c.at("rates")[t],
                         base,
                         fmt::format("{} at {}", c.at("lr_schedule").dump(), t));
    }
  }
}

TEST(LrSchedule, LastsTheWholeRunAfterTheWarmUpWhenNoLengthIsGiven) {
  int num_cases = 0;
  for (const json& c : golden("schedules")) {
    LrScheduleConfig schedule = schedule_from(c.at("lr_schedule"));
    if (schedule.total == 0) continue;
    ++num_cases;
    const int64_t run = schedule.total + schedule.warmup;
    schedule.total = 0;
    LrScheduleConfig by_update = schedule;
    by_update.step_every = ScheduleUnit::kUpdate;
    const double base = c.at("base");
    for (size_t i = 0; i < c.at("rates").size(); ++i) {
      const auto t = static_cast<int64_t>(i);
      const std::string what = fmt::format("{} at {}", c.at("lr_schedule").dump(), t);
      const double expected = c.at("rates")[i];
      expect_equal_rates(
          learning_rate(schedule, base, at_epoch(t, run)), expected, base, what + " by epoch");
      expect_equal_rates(learning_rate(by_update, base, at_update(t, 1, run)),
                         expected,
                         base,
                         what + " by update");
    }
  }
  EXPECT_GT(num_cases, 50);
}

TEST(LrSchedule, CountsTheUpdatesOfAllEpochsAsTheRun) {
  LrScheduleConfig schedule;
  schedule.name = "polynomial";
  schedule.step_every = ScheduleUnit::kUpdate;
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 1.0, at_update(10, 5, 4)), 0.5);
}

TEST(LrSchedule, SpansTheRunWithoutALengthOrPeriodsOfItsOwn) {
  for (const char* name : {"constant",
                           "step",
                           "multi_step",
                           "exponential",
                           "polynomial",
                           "cosine",
                           "one_cycle",
                           "plateau"}) {
    for (const int64_t total : {0, 12}) {
      for (const int64_t restart_period : {0, 6}) {
        const LrScheduleConfig schedule = schedule_from({{"name", name},
                                                         {"milestones", {4, 8}},
                                                         {"step_size", 5},
                                                         {"warmup", 3},
                                                         {"total", total},
                                                         {"restart_period", restart_period}});
        const std::string text(name);
        const bool spans = text == "polynomial" || text == "one_cycle" ||
                           (text == "cosine" && restart_period == 0);
        EXPECT_EQ(spans_the_run(schedule), spans && total == 0) << name << " " << total;
      }
    }
  }
}

TEST(LrSchedule, KeepsItsLastValuePastItsLength) {
  for (const char* name : {"polynomial", "cosine", "one_cycle"}) {
    LrScheduleConfig schedule;
    schedule.name = name;
    schedule.total = 10;
    schedule.warmup = 3;
    schedule.minimum_learning_rate = 1e-3;
    const double last = learning_rate(schedule, 0.1, at_epoch(13));
    for (int64_t t : {14, 15, 20, 23, 24, 500}) {
      EXPECT_EQ(learning_rate(schedule, 0.1, at_epoch(t)), last) << name << " at " << t;
    }
  }
  LrScheduleConfig cosine;
  cosine.name = "cosine";
  cosine.total = 10;
  cosine.minimum_learning_rate = 1e-3;
  EXPECT_DOUBLE_EQ(learning_rate(cosine, 0.1, at_epoch(11)), 1e-3);
}

TEST(LrSchedule, WarmsUpTheConstantAndThePlateauSchedule) {
  for (const char* name : {"constant", "plateau"}) {
    LrScheduleConfig schedule;
    schedule.name = name;
    schedule.warmup = 4;
    schedule.warmup_start_factor = 0.2;
    const double expected[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5};
    for (int64_t t = 0; t < 7; ++t) {
      EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.5, at_epoch(t)), expected[t]) << name;
    }
  }
}

TEST(LrSchedule, IsFiniteInTheShortestRuns) {
  for (const char* name : {"step", "polynomial", "cosine", "one_cycle"}) {
    for (int64_t warmup : {0, 1, 5}) {
      for (int64_t epochs : {1, 2, 3, 4}) {
        LrScheduleConfig schedule;
        schedule.name = name;
        schedule.warmup = warmup;
        for (int64_t t = 0; t <= epochs; ++t) {
          const double rate = learning_rate(schedule, 0.1, at_epoch(t, epochs));
          EXPECT_TRUE(rate >= 0 && rate <= 0.1 + 1e-15) << name << ' ' << rate;
        }
      }
    }
  }
}

TEST(LrSchedule, ScalesTheBaseRateWithTheBatch) {
  Config config;
  config.optimizer.learning_rate = 0.1;
  config.batch_size = 8192;
  EXPECT_DOUBLE_EQ(base_learning_rate(config), 0.1);
  config.optimizer.scale_learning_rate_from_batch = 256;
  EXPECT_DOUBLE_EQ(base_learning_rate(config), 3.2);  // Goyal et al. 2017, table 1
}

TEST(Plateau, EqualsPyTorchsReduceLROnPlateau) {
  const json cases = golden("plateaus");
  ASSERT_GT(cases.size(), 15u);
  for (const json& c : cases) {
    const LrScheduleConfig schedule = schedule_from(c.at("lr_schedule"));
    const double base = c.at("base");
    PlateauState state;
    for (size_t i = 0; i < c.at("values").size(); ++i) {
      state = plateau_after_epoch(schedule, base, state, number_from(c.at("values")[i]));
      expect_equal_rates(base * state.factor,
                         c.at("rates")[i],
                         base,
                         fmt::format("{} after epoch {}", c.at("lr_schedule").dump(), i + 1));
    }
  }
}

TEST(Plateau, NeverTakesNanAsTheBestValue) {
  LrScheduleConfig schedule;
  schedule.name = "plateau";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const char* quantity : {"validation_loss", "validation_accuracy"}) {
    schedule.plateau_quantity = quantity;
    PlateauState state = plateau_after_epoch(schedule, 0.1, {}, nan);
    EXPECT_FALSE(state.has_best);
    state = plateau_after_epoch(schedule, 0.1, state, 0.5);
    state = plateau_after_epoch(schedule, 0.1, state, nan);
    EXPECT_EQ(state.best, 0.5);
    EXPECT_EQ(state.bad_epochs, 1);
  }
}

}  // namespace
}  // namespace lockstep
