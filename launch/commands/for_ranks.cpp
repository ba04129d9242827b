#include "lockstep/launch/commands/for_ranks.h"

#include <algorithm>

namespace lockstep {

std::span<const char* const> commands_for_ranks() {
  static constexpr const char* kCommands[] = {"train", "evaluate", "bench", "doctor", "verify"};
  return kCommands;
}

bool is_for_ranks(std::string_view command) {
  return std::ranges::find(commands_for_ranks(), command) != commands_for_ranks().end();
}

}  // namespace lockstep
