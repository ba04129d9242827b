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

// Reaches one member of a Config.
using FieldAccess = std::variant<bool& (*)(Config&),
                                 int64_t& (*)(Config&),
                                 double& (*)(Config&),
                                 std::string& (*)(Config&),
                                 std::vector<int64_t>& (*)(Config&)>;

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
  NumberRange range;                 // numbers, and each element of a list
  std::vector<std::string> choices;  // strings; empty = any
  bool affects_result = true;        // part of the digest
  std::string description;           // one line
  std::string zero_word;             // an integer's 0 is written as this word; empty = as 0
};

// In the order of the structs, groups together.
const std::vector<ConfigField>& config_fields();

}  // namespace lockstep
