// What a configuration must fulfil beyond the types of its values.
#pragma once

#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/config/config_fields.h"

namespace lockstep {

// Throws Error(kUsage), naming key, value and what is allowed, for the first value out of its
// range, or for values that contradict each other. parse_config calls it; a program that fills
// a Config by hand should too.
void validate_config(const Config& config);

// Throws Error(kUsage), with the nearest name, for a name that is none of the field's choices.
void check_choice(const ConfigField& field, const std::string& name);

// What a field takes, in words: "an integer, at least 1", "one of: auto, cpu, cuda".
std::string describe_allowed(const ConfigField& field);

}  // namespace lockstep
