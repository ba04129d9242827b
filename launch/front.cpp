// The program `lockstep` that users start. The program proper, libexec/lockstep, comes to its main
// half a second late, when LibTorch is loaded, and until then a signal would do what the system
// does by default: end the process, with nothing said and a code that puts no job back into a
// queue. This one holds signals back from the first instant and becomes that program (exec: the
// same process), which acts on what has come meanwhile.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "lockstep/distributed/run/stop_signals.h"

namespace {

constexpr int kInputOutput = 74;  // as core/base/error.h, which needs a library

// Beside this file in a build folder; where `cmake --install` puts it.
constexpr const char* kPlaces[] = {"libexec/lockstep", LOCKSTEP_PROGRAM_FROM_BIN};

// Where standard input or an output is closed, the first file that is opened would take its number,
// and what is printed would land in that file. Opened the wrong way round, it is an error to use
// it, as before.
void occupy_standard_files() {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; ++file) {
    if (fcntl(file, F_GETFD) < 0) open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int, char** argv) {
  lockstep::hold_stop_signals();
  occupy_standard_files();
  char folder[PATH_MAX] = "";
  // Not argv[0]: a symbolic link may lead here.
  if (readlink("/proc/self/exe", folder, sizeof folder - 1) < 0) {
    std::fprintf(stderr, "lockstep: error: reading /proc/self/exe: %s\n", std::strerror(errno));
    return kInputOutput;
  }
  if (char* slash = std::strrchr(folder, '/')) *slash = '\0';
  char program[PATH_MAX + sizeof LOCKSTEP_PROGRAM_FROM_BIN];
  for (const char* place : kPlaces) {
    std::snprintf(program, sizeof program, "%s/%s", folder, place);
    execv(program, argv);  // returns only where it fails
    if (errno != ENOENT) break;
  }
  std::fprintf(stderr,
               "lockstep: error: %s: %s. It belongs to this program: instead of copying one of the "
               "two, make a symbolic link to it, or install by `cmake --install BUILD --prefix "
               "DIR`\n",
               program,
               std::strerror(errno));
  return kInputOutput;
}
