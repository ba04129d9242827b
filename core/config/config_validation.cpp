#include "lockstep/core/config/config_validation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <type_traits>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/suggestion.h"

namespace lockstep {
namespace {

std::string describe_range(const NumberRange& range) {
  // Larger ends only keep products within 64 bits: they are news to those who exceed them.
  constexpr double kLargestWorthTelling = 1e6;
  std::string words;
  if (std::isfinite(range.least)) {
    words += fmt::format(", {} {}", range.least_exclusive ? "more than" : "at least", range.least);
  }
  if (range.most <= kLargestWorthTelling) {
    words += fmt::format(", {} {}", range.most_exclusive ? "less than" : "at most", range.most);
  }
  return words;
}

template <typename Number>
void check_number(const std::string& key, const ConfigField& field, Number value) {
  if (field.range.contains(static_cast<double>(value))) return;
  if (value == 0 && !field.zero_word.empty()) return;
  if (std::isfinite(static_cast<double>(value)) && static_cast<double>(value) > field.range.most) {
    throw_error(ExitCode::kUsage, "{} is {}, but may be at most {}", key, value, field.range.most);
  }
  throw_error(ExitCode::kUsage, "{} is {}, but must be {}", key, value, describe_allowed(field));
}

void check_text(const ConfigField& field, const std::string& value) {
  if (!field.choices.empty() && std::ranges::find(field.choices, value) == field.choices.end()) {
    throw_error(ExitCode::kUsage,
                "{} is {}, but must be {}{}",
                field.key,
                quote_for_message(value, '"'),
                describe_allowed(field),
                did_you_mean(value, field.choices));
  }
  const bool has_control_characters =
      std::ranges::any_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (has_control_characters || !is_utf8(value)) {
    throw_error(ExitCode::kUsage,
                "{} is {}, but must be UTF-8 text without control characters",
                field.key,
                quote_for_message(value, '"'));
  }
}

void check_field(const ConfigField& field, Config& config) {
  std::visit(
      [&](auto access) {
        const auto& value = access(config);
        using Value = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          check_text(field, value);
        } else if constexpr (std::is_same_v<Value, std::vector<int64_t>>) {
          for (size_t i = 0; i < value.size(); ++i) {
            check_number(fmt::format("{}[{}]", field.key, i), field, value[i]);
          }
        } else if constexpr (!std::is_same_v<Value, bool>) {
          check_number(field.key, field, value);
        }
      },
      field.access);
}

void check_schedule(const Config& config) {
  const LrScheduleConfig& schedule = config.lr_schedule;
  if (schedule.name == "multi_step" && schedule.milestones.empty()) {
    throw_error(ExitCode::kUsage,
                "lr_schedule.name is multi_step, but lr_schedule.milestones is empty: name the {}s "
                "after which the rate is reduced, such as [15, 25]",
                schedule.step_every);
  }
  if (std::ranges::adjacent_find(schedule.milestones, std::greater_equal{}) !=
      schedule.milestones.end()) {
    throw_error(ExitCode::kUsage,
                "lr_schedule.milestones is [{}], but each must be larger than the one before",
                fmt::join(schedule.milestones, ", "));
  }
  if (schedule.name == "plateau" && config.data.validation_fraction == 0) {
    throw_error(ExitCode::kUsage,
                "lr_schedule.name is plateau, which watches {}, but data.validation_fraction is 0: "
                "set it above 0 or choose another schedule",
                schedule.plateau_quantity);
  }
}

}  // namespace

void validate_config(const Config& config) {
  Config copy = config;  // the table reaches members of a mutable one
  for (const ConfigField& field : config_fields()) check_field(field, copy);
  check_schedule(config);
  if (config.model.name.empty()) {
    throw_error(ExitCode::kUsage, "model.name is empty: `lockstep models` lists the names");
  }
  if (config.optimizer.name == "sgd" && config.optimizer.nesterov &&
      config.optimizer.momentum == 0) {
    throw_error(ExitCode::kUsage,
                "optimizer.nesterov is true, but optimizer.momentum is 0: set a momentum such as "
                "0.9, or nesterov to false");
  }
  if (config.device == "cpu" && config.distributed.backend == "nccl") {
    throw_error(ExitCode::kUsage,
                "distributed.backend is nccl, which needs GPUs, but device is cpu: set the backend "
                "to auto or mpi");
  }
}

std::string describe_allowed(const ConfigField& field) {
  if (std::holds_alternative<bool& (*)(Config&)>(field.access)) return "true or false";
  if (std::holds_alternative<int64_t& (*)(Config&)>(field.access)) {
    const std::string word = field.zero_word.empty() ? "" : fmt::format(", or {}", field.zero_word);
    return "an integer" + describe_range(field.range) + word;
  }
  if (std::holds_alternative<double& (*)(Config&)>(field.access)) {
    return "a number" + describe_range(field.range);
  }
  if (std::holds_alternative<std::vector<int64_t>& (*)(Config&)>(field.access)) {
    return "a list of integers, each" + describe_range(field.range).substr(1);
  }
  if (field.choices.empty()) return "a string";
  return fmt::format("one of: {}", fmt::join(field.choices, ", "));
}

}  // namespace lockstep
