// Words on standard error, where problems are told.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "lockstep/core/base/terminal_text.h"

namespace lockstep {

// Writes `text` as it is, at once. What cannot be written is lost: there is nowhere else to tell.
void write_complaint(std::string_view text);

// Names, paths and messages in the text may come from anywhere: control characters are escaped
// (terminal_text).
template <typename... Args>
void complain(fmt::format_string<Args...> format, Args&&... args) {
  write_complaint(terminal_text(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace lockstep
