// Reads and writes configurations as JSON: strict about keys, types and ranges, since a silent typo
// costs a night's run.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"

namespace lockstep {

// The defaults, overlaid by the JSON object in `json_text` (empty = none), overlaid by
// `assignments`, each "dotted.key=value" (as assigned_value reads them). The result is
// validated. Throws Error(kUsage) for: text that is not one JSON object, duplicate keys, nesting
// deeper than 32, unknown keys (with the nearest known one), wrong types, numbers that are not
// finite, values out of range. `source` names the text in messages.
Config parse_config(const std::string& json_text,
                    std::span<const std::string> assignments,
                    const std::string& source);

// As parse_config, of a file. Throws Error(kUsage) when it cannot be read.
Config load_config(const std::string& path, std::span<const std::string> assignments);

// All keys with their values, keys in the order of the structs, indented by two spaces, newline at
// the end.
std::string config_to_json(const Config& config);

// SHA-256 (hex) of what determines the numbers: the keys whose `affects_result` the table of
// config_fields.cpp leaves true. Where data and weights come from, how they are kept, how often a
// run saves and tells, and what carries tensors is not in it.
std::string config_digest(const Config& config);

// Every key with its value as JSON.
std::map<std::string, std::string> key_values(const Config& config);

// Names the keys in which two configurations differ, "a.b: 1 != 2" each.
std::vector<std::string> config_differences(const Config& a, const Config& b);

// The same, of the keys that a resumed run must leave as they are.
std::vector<std::string> resume_obstacles(const Config& before, const Config& now);

// A key for help texts and documentation.
struct ConfigKeyHelp {
  std::string key;                  // dotted
  std::string default_value;        // as JSON
  std::string allowed;              // in words: "an integer, at least 1", "one of: auto, cpu, cuda"
  std::string description;          // one line
  std::vector<ChoiceText> choices;  // each name that may be chosen, and what it stands for
  bool affects_result = true;       // part of the digest
  bool may_change_at_resume = false;
};

// All keys in the order of the structs.
std::vector<ConfigKeyHelp> config_keys();

}  // namespace lockstep
