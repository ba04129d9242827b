#include "lockstep/launch/terminal/console.h"

#include <cstdio>

namespace lockstep {

void write_console(const std::string& text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0 || written < text.size()) std::clearerr(stdout);
}

}  // namespace lockstep
