// The table of all configuration keys. Reading, writing, range checks, differences, the digest and
// help texts all follow from it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Reaches a member of a Config that is one of several values with names: an enum or a Choice.
struct ChoiceAccess {
  const char* (*name)(const Config&);
  // Throws Error(kUsage) for a name that is none of the field's choices.
  void (*assign)(Config&, const std::string& name);
};

// Reaches one member of a Config.
using FieldAccess = std::variant<bool& (*)(Config&),
                                 int64_t& (*)(Config&),
                                 double& (*)(Config&),
                                 std::string& (*)(Config&),
                                 std::vector<int64_t>& (*)(Config&),
                                 ChoiceAccess>;

// What a number may be. An exclusive end is itself refused.
struct NumberRange {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool least_exclusive = false;
  bool most_exclusive = false;

  // False for NaN and infinities.
  bool contains(double value) const {
    return std::isfinite(value) && (least_exclusive ? value > least : value >= least) &&
           (most_exclusive ? value < most : value <= most);
  }
};

struct ConfigField {
  std::string key;  // dotted
  FieldAccess access;
  NumberRange range;                // numbers, and each element of a list
  std::vector<ChoiceText> choices;  // of names; of a string: the known ones, empty = none is known
  bool affects_result = true;       // part of the digest
  std::string description;          // one line
  std::string zero_word;            // an integer's 0 is written as this word; empty = as 0
  bool may_change_at_resume = false;  // a resumed run may have another value
  bool joined_later = false;          // its default is not part of the digest
};

// In the order of the structs, groups together.
const std::vector<ConfigField>& config_fields();

}  // namespace lockstep
