// What everything that writes files shares: writes that are complete, and errors that say why not.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

// Throws Error(kInputOutput): "cannot <action> <path>: <the reason>", and a fix where one is known.
[[noreturn]] void throw_file_error(std::string_view action, const std::string& path, int error);

// Writes all bytes; returns 0 or the error number. Waits for a pipe or terminal that another
// program has set not to block.
int write_all(int descriptor, std::span<const std::byte> bytes);
int write_all(int descriptor, std::string_view text);

// "." for a name without a folder.
std::string folder_of(const std::string& path);

}  // namespace lockstep
