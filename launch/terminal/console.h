// Words for people on standard output.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace lockstep {

// Writes and flushes. What cannot be written (a full disk, a reader that went away) is lost without
// a word: a run must not end because nobody listens.
void write_console(const std::string& text);

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_console(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lockstep
