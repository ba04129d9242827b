#include "lockstep/launch/commands/memory_error.h"

#include <fmt/format.h>

#include <regex>

namespace lockstep {

std::string lack_of_memory(const c10::Error& error) {
  static const std::regex pattern(
      R"(can't allocate memory: you tried to allocate ([0-9]+) bytes|not enough memory)");
  const std::string text = error.what_without_backtrace();
  std::smatch found;
  if (!std::regex_search(text, found, pattern)) return "";
  if (!found[1].matched) return "out of memory";
  const double bytes = std::stod(found[1]);
  return bytes >= 1e6 ? fmt::format("out of memory: {:.0f} MB more were asked for", bytes / 1e6)
                      : fmt::format("out of memory: {:.0f} bytes more were asked for", bytes);
}

}  // namespace lockstep
