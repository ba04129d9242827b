// The rows of the tables that a configuration chooses from by name and that come with code: a
// learning-rate schedule, an optimizer, a watched quantity, a model. Each table stands in the file
// that holds its functions; parsing, --help, the documentation and dispatch all read it there, so
// that a new row is all that a new one takes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

struct Config;
struct LrScheduleConfig;
struct OptimizerConfig;
struct PlateauState;
class FlatParameters;
class Optimizer;

// In core/training/lr_schedule.cpp.
struct LrSchedule {
  static constexpr const char* kKind = "learning-rate schedule";
  static std::span<const LrSchedule> table();

  const char* name;
  const char* description;  // one line
  // The rate after `unit` of `total` units (`step_every`), both without the warm-up; total >= 1,
  // and 0 <= unit, which may lie beyond it. A pure function.
  double (*rate)(const LrScheduleConfig& schedule, double base, int64_t unit, int64_t total);
  // What a schedule that follows validation makes of an epoch's quantity; null: it does not.
  PlateauState (*after_epoch)(const LrScheduleConfig& schedule,
                              double base,
                              PlateauState state,
                              double value) = nullptr;
  // Throws Error(kUsage) for keys that do not go with it; null: all do.
  void (*check)(const Config& config) = nullptr;
};

// In core/training/optimizer.cpp.
struct UpdateRule {
  static constexpr const char* kKind = "optimizer";
  static std::span<const UpdateRule> table();

  const char* name;
  const char* description;  // one line
  // The parameters must outlive the optimizer.
  std::unique_ptr<Optimizer> (*make)(const OptimizerConfig& config, FlatParameters& parameters);
  // Throws Error(kUsage) for keys that do not go with it; null: all do.
  void (*check)(const OptimizerConfig& config) = nullptr;
};

struct ValidationNumbers {
  double loss = 0, accuracy = 0;
};

// In core/training/early_stopping.cpp.
struct WatchedQuantity {
  static constexpr const char* kKind = "quantity";
  static std::span<const WatchedQuantity> table();

  const char* name;
  const char* description;  // one line
  bool larger_is_better;
  double (*of)(const ValidationNumbers& numbers);
};

// A name that may be chosen, for help texts and documentation.
struct ChoiceText {
  std::string name;
  std::string description;  // one line
};

// The models of core/models/model_registry.cpp.
std::vector<ChoiceText> model_choices();

}  // namespace lockstep
