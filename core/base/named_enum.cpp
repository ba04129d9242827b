#include "lockstep/core/base/named_enum.h"

#include <fmt/ranges.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/suggestion.h"

namespace lockstep {

void throw_unknown_name(std::string_view kind,
                        std::string_view name,
                        const std::vector<std::string>& known) {
  throw_error(ExitCode::kUsage,
              "unknown {} '{}': known are {}{}",
              kind,
              name,
              fmt::join(known, ", "),
              did_you_mean(std::string(name), known));
}

void throw_nameless(int value) {
  throw_error(ExitCode::kInternal, "value {} of an enum has no name", value);
}

}  // namespace lockstep
