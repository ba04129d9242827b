#include "launch/console.h"

#include <cstdio>

namespace lockstep {

void write_console(const std::string& text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0 || written < text.size()) std::clearerr(stdout);
}

std::string plural(int64_t count, const char* one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

}  // namespace lockstep
