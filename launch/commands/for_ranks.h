// Commands whose ranks work together (of verify: for a replay); of every other one process does the
// work.
#pragma once

#include <span>
#include <string_view>

namespace lockstep {

std::span<const char* const> commands_for_ranks();
bool is_for_ranks(std::string_view command);

}  // namespace lockstep
