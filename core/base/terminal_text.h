// Text from outside, made fit for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// `text` with its control characters (C0, DEL, C1), and bytes that are not UTF-8, as \xNN: nothing
// in it moves the cursor or commands the terminal. A message of several lines keeps its newlines
// and tabs.
std::string terminal_text(std::string_view text);

// The same for a name or a value within a line: newlines and tabs are escaped too.
std::string terminal_word(std::string_view text);

}  // namespace lockstep
