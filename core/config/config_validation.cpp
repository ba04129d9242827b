#include "lockstep/core/config/config_validation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <type_traits>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/suggestion.h"
#include "lockstep/core/base/text.h"

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

std::vector<std::string> choice_names(const ConfigField& field) {
  std::vector<std::string> names;
  for (const ChoiceText& choice : field.choices) names.push_back(choice.name);
  return names;
}

void check_text(const ConfigField& field, const std::string& value) {
  const bool has_control_characters =
      std::ranges::any_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (has_control_characters || !is_utf8(value)) {
    throw_error(ExitCode::kUsage,
                "{} is {}, but must be UTF-8 text without control characters",
                field.key,
                quote_for_message(value, '"'));
  }
}

void check_value(const ConfigField& field, const std::string& value) { check_text(field, value); }
void check_value(const ConfigField& field, int64_t value) { check_number(field.key, field, value); }
void check_value(const ConfigField& field, double value) { check_number(field.key, field, value); }
void check_value(const ConfigField&, bool) {}
void check_value(const ConfigField& field, const std::vector<int64_t>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    check_number(fmt::format("{}[{}]", field.key, i), field, values[i]);
  }
}

void check_field(const ConfigField& field, Config& config) {
  std::visit(
      [&](auto access) {
        // A choice cannot be wrong.
        if constexpr (!std::is_same_v<decltype(access), ChoiceAccess>)
          check_value(field, access(config));
      },
      field.access);
}

void check_schedule(const Config& config) {
  const LrScheduleConfig& schedule = config.lr_schedule;
  if (std::ranges::adjacent_find(schedule.milestones, std::greater_equal{}) !=
      schedule.milestones.end()) {
    throw_error(ExitCode::kUsage,
                "lr_schedule.milestones is [{}], but each must be larger than the one before",
                fmt::join(schedule.milestones, ", "));
  }
  if (schedule.name->check != nullptr) schedule.name->check(config);
}

}  // namespace

void validate_config(const Config& config) {
  Config copy = config;  // the table reaches members of a mutable one
  for (const ConfigField& field : config_fields()) check_field(field, copy);
  check_schedule(config);
  if (config.model.name.empty()) {
    throw_error(ExitCode::kUsage, "model.name is empty: `lockstep models` lists the names");
  }
  if (config.optimizer.name->check != nullptr) config.optimizer.name->check(config.optimizer);
  if (config.device == DeviceKind::kCpu && config.distributed.backend == TensorBackend::kNccl) {
    throw_error(ExitCode::kUsage,
                "distributed.backend is nccl, which needs GPUs, but device is cpu: set the backend "
                "to auto or mpi");
  }
}

void check_choice(const ConfigField& field, const std::string& name) {
  const std::vector<std::string> known = choice_names(field);
  if (std::ranges::find(known, name) != known.end()) return;
  throw_error(ExitCode::kUsage,
              "{} is {}, but must be {}{}",
              field.key,
              quote_for_message(name, '"'),
              describe_allowed(field),
              did_you_mean(name, known));
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
  return fmt::format("one of: {}", fmt::join(choice_names(field), ", "));
}

}  // namespace lockstep
