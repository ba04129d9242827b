// Values on the command line, as people write them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "lockstep/core/config/config_fields.h"

namespace lockstep {

// What `--set KEY=TEXT` gives the key: JSON, and beside it
//   - for a number what C and Python read too: .05, 5., +1, 007;
//   - for a flag true, yes, on, 1 and false, no, off, 0 in any case;
//   - for a list 30,45 without brackets;
//   - for text the text as it is, since shells take quotes away.
// Whatever is none of these is a string, which the key then refuses by name. `field`: null for a
// group or an unknown key. Throws Error(kUsage) for an object or list that is not JSON.
nlohmann::json assigned_value(const ConfigField* field,
                              const std::string& text,
                              const std::string& source);

}  // namespace lockstep
