#include "lockstep/core/config/config_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/config/assigned_value.h"
#include "lockstep/core/config/config_fields.h"
#include "lockstep/core/config/config_validation.h"
#include "lockstep/core/config/key_suggestion.h"

namespace lockstep {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// Null when there is no such key.
const ConfigField* find_field(const std::string& key) {
  const std::vector<ConfigField>& fields = config_fields();
  const auto found = std::ranges::find(fields, key, &ConfigField::key);
  return found == fields.end() ? nullptr : &*found;
}

// Whether `key` names a group, such as "data" or "data.augmentation".
bool is_group(const std::string& key) {
  return std::ranges::any_of(config_fields(), [prefix = key + "."](const ConfigField& field) {
    return field.key.starts_with(prefix);
  });
}

[[noreturn]] void throw_unknown_key(const std::string& key, const std::string& source) {
  const std::string advice = key_advice(key);
  throw_error(ExitCode::kUsage,
              "{}: unknown configuration key {}{}",
              source,
              quote_for_message(key, '\''),
              advice.empty() ? ": `lockstep train --print-config` prints all keys" : advice);
}

[[noreturn]] void throw_wrong_type(const std::string& key,
                                   const json& found,
                                   const std::string& expected,
                                   const std::string& source) {
  throw_error(ExitCode::kUsage,
              "{}: {} is {}, but must be {}",
              source,
              key,
              describe_json(found),
              expected);
}

int64_t to_integer(const std::string& key,
                   const json& found,
                   const std::string& expected,
                   const std::string& source) {
  if (found.is_number_float()) {
    // 1e3 is an integer; beyond 2^53 a double no longer says which one.
    const double value = found.get<double>();
    if (std::trunc(value) != value) throw_wrong_type(key, found, expected, source);
    if (std::abs(value) <= 9007199254740992.0) return static_cast<int64_t>(value);
  } else if (!found.is_number_integer()) {
    throw_wrong_type(key, found, expected, source);
  } else if (!found.is_number_unsigned() ||
             found.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()}) {
    return found.get<int64_t>();
  }
  throw_error(ExitCode::kUsage,
              "{}: {} is {}, which does not fit in a 64-bit integer",
              source,
              key,
              describe_json(found));
}

// A value as it was found, on its way to the field it is meant for.
struct Found {
  const ConfigField& field;
  const json& value;
  const std::string& source;

  void require(bool fits) const {
    if (!fits) throw_wrong_type(field.key, value, describe_allowed(field), source);
  }
};

void take(const Found& found, bool& value) {
  found.require(found.value.is_boolean());
  value = found.value.get<bool>();
}

void take(const Found& found, int64_t& value) {
  const std::string& word = found.field.zero_word;
  const bool is_word =
      found.value.is_string() && !word.empty() && found.value.get<std::string>() == word;
  value = is_word ? 0
                  : to_integer(
                        found.field.key, found.value, describe_allowed(found.field), found.source);
  if (!word.empty()) found.require(is_word || value != 0);
}

void take(const Found& found, double& value) {
  found.require(found.value.is_number());
  value = found.value.get<double>();
}

void take(const Found& found, std::string& value) {
  found.require(found.value.is_string());
  value = found.value.get<std::string>();
}

void take(const Found& found, std::vector<int64_t>& values) {
  found.require(found.value.is_array());
  values.clear();
  for (const json& element : found.value) {
    values.push_back(to_integer(fmt::format("{}[{}]", found.field.key, values.size()),
                                element,
                                "an integer",
                                found.source));
  }
}

void assign(Config& config,
            const ConfigField& field,
            const json& value,
            const std::string& source) {
  const Found found{field, value, source};
  std::visit(
      [&](auto access) {
        if constexpr (std::is_same_v<decltype(access), ChoiceAccess>) {
          std::string name;
          take(found, name);
          check_choice(field, name);
          access.assign(config, name);
        } else {
          take(found, access(config));
        }
      },
      field.access);
}

void apply(Config& config, const std::string& key, const json& found, const std::string& source);

// Overlays the keys of the group `group`; an empty one is the whole configuration.
void apply_group(Config& config,
                 const std::string& group,
                 const json& found,
                 const std::string& source) {
  if (!found.is_object()) {
    const std::string name_key = group + ".name";
    const bool meant_name = found.is_string() && find_field(name_key) != nullptr;
    throw_error(ExitCode::kUsage,
                "{}: {} is {}, but must be an object of keys{}",
                source,
                group.empty() ? "the configuration" : group,
                describe_json(found),
                meant_name ? fmt::format("; to choose it by name, set {}", name_key) : "");
  }
  for (const auto& [name, value] : found.items()) {
    const std::string key = group.empty() ? name : fmt::format("{}.{}", group, name);
    if (name.find('.') != name.npos && (find_field(key) || is_group(key))) {
      throw_error(ExitCode::kUsage,
                  "{}: the key {} is dotted, which only --set understands: nest objects instead",
                  source,
                  quote_for_message(key, '\''));
    }
    apply(config, key, value, source);
  }
}

void apply(Config& config, const std::string& key, const json& found, const std::string& source) {
  if (const ConfigField* field = find_field(key)) {
    assign(config, *field, found, source);
  } else if (is_group(key)) {
    apply_group(config, key, found, source);
  } else {
    throw_unknown_key(key, source);
  }
}

Config build_config(const json& overlay,
                    std::span<const std::string> assignments,
                    const std::string& source) {
  Config config;
  apply_group(config, "", overlay, source);
  for (const std::string& assignment : assignments) {
    const size_t equals = assignment.find('=');
    if (equals == assignment.npos || equals == 0) {
      throw_error(ExitCode::kUsage,
                  "--set {}: write key=value, such as --set optimizer.learning_rate=0.05",
                  quote_for_message(assignment, '\''));
    }
    const std::string key = assignment.substr(0, equals);
    const json value =
        assigned_value(find_field(key), assignment.substr(equals + 1), "--set " + key);
    apply(config, key, value, "--set");
  }
  validate_config(config);
  return config;
}

ordered_json field_to_json(Config& config, const ConfigField& field) {
  return std::visit(
      [&](auto access) {
        if constexpr (std::is_same_v<decltype(access), ChoiceAccess>) {
          return ordered_json(access.name(config));
        } else {
          const auto& value = access(config);
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, int64_t>) {
            if (value == 0 && !field.zero_word.empty()) return ordered_json(field.zero_word);
          }
          return ordered_json(value);
        }
      },
      field.access);
}

std::vector<std::string> differences(const Config& a, const Config& b, bool also_changeable) {
  Config first = a;
  Config second = b;
  std::vector<std::string> differences;
  for (const ConfigField& field : config_fields()) {
    if (field.may_change_at_resume && !also_changeable) continue;
    const std::string in_a = field_to_json(first, field).dump();
    const std::string in_b = field_to_json(second, field).dump();
    if (in_a != in_b) differences.push_back(fmt::format("{}: {} != {}", field.key, in_a, in_b));
  }
  return differences;
}

}  // namespace

Config parse_config(const std::string& json_text,
                    std::span<const std::string> assignments,
                    const std::string& source) {
  const json overlay =
      json_text.empty() ? json::object() : parse_strict_json(json_text, source, ExitCode::kUsage);
  return build_config(overlay, assignments, source);
}

Config load_config(const std::string& path, std::span<const std::string> assignments) {
  std::string text;
  try {
    text = read_file(path, kMaxConfigBytes);
  } catch (const Error& error) {
    throw Error(ExitCode::kUsage, error.what());
  }
  return build_config(parse_strict_json(text, path, ExitCode::kUsage), assignments, path);
}

std::string config_to_json(const Config& config) {
  Config copy = config;
  ordered_json root = ordered_json::object();
  for (const ConfigField& field : config_fields()) {
    ordered_json* group = &root;
    size_t start = 0;
    for (size_t dot = field.key.find('.'); dot != field.key.npos;
         dot = field.key.find('.', start)) {
      group = &(*group)[field.key.substr(start, dot - start)];
      start = dot + 1;
    }
    (*group)[field.key.substr(start)] = field_to_json(copy, field);
  }
  return root.dump(2) + "\n";
}

std::string config_digest(const Config& config) {
  Config copy = config, defaults;
  std::string canonical;
  for (const ConfigField& field : config_fields()) {
    if (!field.affects_result) continue;
    const std::string value = field_to_json(copy, field).dump();
    if (field.joined_later && value == field_to_json(defaults, field).dump()) continue;
    canonical += field.key + "=" + value + "\n";
  }
  return sha256_hex(canonical);
}

std::map<std::string, std::string> key_values(const Config& config) {
  Config copy = config;
  std::map<std::string, std::string> values;
  for (const ConfigField& field : config_fields())
    values.emplace(field.key, field_to_json(copy, field).dump());
  return values;
}

std::vector<std::string> config_differences(const Config& a, const Config& b) {
  return differences(a, b, true);
}

std::vector<std::string> resume_obstacles(const Config& before, const Config& now) {
  return differences(before, now, false);
}

std::vector<ConfigKeyHelp> config_keys() {
  Config defaults;
  std::vector<ConfigKeyHelp> keys;
  for (const ConfigField& field : config_fields()) {
    keys.push_back({.key = field.key,
                    .default_value = field_to_json(defaults, field).dump(),
                    .allowed = describe_allowed(field),
                    .description = field.description,
                    .choices = field.choices,
                    .affects_result = field.affects_result,
                    .may_change_at_resume = field.may_change_at_resume});
  }
  return keys;
}

}  // namespace lockstep
