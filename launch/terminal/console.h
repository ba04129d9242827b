// Words for people on standard output and standard error.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

#include "lockstep/core/base/terminal_text.h"

namespace lockstep {

// Writes and flushes `text` as it is: JSON, cursor codes. What cannot be written (a full disk, a
// reader that went away) is lost without a word: a run must not end because nobody listens.
void write_console(const std::string& text);

// Names, paths and messages in the text may come from anywhere: control characters are escaped
// (terminal_text).
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_console(terminal_text(fmt::format(format, std::forward<Args>(args)...)));
}

// The same on standard error.
template <typename... Args>
void complain(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(stderr, "{}", terminal_text(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace lockstep
