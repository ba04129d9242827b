// Words for people and results on standard output; problems on standard error.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/terminal_text.h"

namespace lockstep {

// Makes errors of the write of a file size limit and of a pipe without a reader; as signals they
// would end the process. (Standard streams that are closed are occupied by launch/front.cpp.)
void prepare_console();

// Words on the way, such as a run's progress: writes and flushes `text` as it is (cursor codes).
// What cannot be written (a full disk, a reader that went away) is lost without a word: a run must
// not end because nobody listens.
void write_console(const std::string& text);

// What a command was asked for. Throws Error(kInputOutput) where it cannot be written; where the
// reader of a pipe went away, which wants no more, it ends the process as SIGPIPE does.
void write_result(const std::string& text);

// Names, paths and messages in the text may come from anywhere: control characters are escaped
// (terminal_text).
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_console(terminal_text(fmt::format(format, std::forward<Args>(args)...)));
}

template <typename... Args>
void say_result(fmt::format_string<Args...> format, Args&&... args) {
  write_result(terminal_text(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace lockstep
