// Numbers in JSON that need not be there: JSON has no NaN and no infinity, and files are damaged.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace lockstep {

// null for what is not finite.
inline nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

// The number at `key` of an object; NaN where there is none.
inline double number_at(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>()
                                                     : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace lockstep
