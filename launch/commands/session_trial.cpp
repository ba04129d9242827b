#include "lockstep/launch/commands/session_trial.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "lockstep/core/base/descriptor.h"
#include "lockstep/core/base/error.h"
#include "lockstep/launch/commands/session_runner.h"

namespace lockstep {
namespace {

// A file in memory, which both processes see.
Descriptor shared_file() { return Descriptor(memfd_create("session", MFD_CLOEXEC)); }

std::string read_all(const Descriptor& file) {
  std::string text(size_t{64} << 10, '\0');
  const ssize_t size = pread(file.value(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

// The child: writes to `caught` until the session has started, which `started` then says.
[[noreturn]] void run_here(int* argc,
                           char*** argv,
                           const std::function<int(Session&)>& body,
                           const Descriptor& caught,
                           const Descriptor& started) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whoever ends the parent means both
  const Descriptor output(dup(STDOUT_FILENO)), errors(dup(STDERR_FILENO));
  dup2(caught.value(), STDOUT_FILENO);
  dup2(caught.value(), STDERR_FILENO);
  int code = static_cast<int>(ExitCode::kInternal);
  try {
    code = run_in_session(
        argc,
        argv,
        [] {},
        [&](Session& session) {
          dup2(output.value(), STDOUT_FILENO);
          dup2(errors.value(), STDERR_FILENO);
          if (write(started.value(), "1", 1) != 1) return code;
          return body(session);
        });
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    code = static_cast<int>(error.code());
  }
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace

SessionTrial try_in_session(int* argc, char*** argv, const std::function<int(Session&)>& body) {
  const Descriptor caught = shared_file(), started = shared_file();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0)
    return {run_in_session(
                argc, argv, [] {}, body),
            ""};  // no room for two
  if (child == 0) run_here(argc, argv, body, caught, started);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (read_all(started).empty()) {
    const std::string said = read_all(caught);
    return {std::nullopt, said.empty() ? "it ended the process; the launcher has its words" : said};
  }
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ""};
}

}  // namespace lockstep
