// JSON from outside, read with distrust.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "lockstep/core/base/error.h"

namespace lockstep {

inline constexpr size_t kMaxJsonDepth = 32;

// The one JSON value that `text` holds. Throws Error(code), naming `source`, line and column (in
// characters, from 1), for: anything that is not JSON (comments, NaN, trailing text or zero bytes
// included), a key that appears twice in an object (with its dotted path), nesting deeper than
// kMaxJsonDepth, and numbers beyond the range of a double.
nlohmann::json parse_strict_json(const std::string& text, const std::string& source, ExitCode code);

// A value for a person to read: `the string "fast"`, `the number 0.5`, `an array`; long strings are
// cut.
std::string describe_json(const nlohmann::json& value);

}  // namespace lockstep
