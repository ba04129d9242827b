#include "lockstep/launch/terminal/console.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "lockstep/core/base/file_io.h"

namespace lockstep {

void prepare_console() {
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

void write_console(const std::string& text) { static_cast<void>(write_all(STDOUT_FILENO, text)); }

void write_result(const std::string& text) {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == EPIPE) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  if (error != 0) throw_file_error("write to", "standard output", error);
}

}  // namespace lockstep
