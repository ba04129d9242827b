#include "lockstep/data/image_set/image_file_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_file.h"

namespace lockstep {
namespace {

constexpr unsigned kTimeLimitSeconds = 20;
// Beyond what the process has mapped already: an honest file needs a tenth of it.
constexpr rlim_t kMemoryBytes = rlim_t{160} << 20;
constexpr size_t kMaxMessageBytes = 4096;

rlim_t mapped_bytes() {
  unsigned long pages = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  const bool read = std::fscanf(file, "%lu", &pages) == 1;
  std::fclose(file);
  return read ? pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) : 0;
}

void limit_child() {
  // A crash in here is an answer: no handler of the program's, no core file, no text of the C
  // library's.
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM})
    std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (const int null = open("/dev/null", O_WRONLY); null >= 0) dup2(null, STDERR_FILENO);
  if (const rlim_t mapped = mapped_bytes(); mapped > 0) {
    const rlimit memory{mapped + kMemoryBytes, mapped + kMemoryBytes};
    setrlimit(RLIMIT_AS, &memory);
  }
  alarm(kTimeLimitSeconds);
}

// What the parent reads: the exit code's byte, then the message.
void report(int pipe, ExitCode code, const char* message) {
  const auto byte = static_cast<uint8_t>(code);
  if (write(pipe, &byte, 1) != 1) return;
  for (size_t left = strnlen(message, kMaxMessageBytes); left > 0;) {
    const ssize_t written = write(pipe, message, left);
    if (written <= 0) return;
    message += written;
    left -= static_cast<size_t>(written);
  }
}

[[noreturn]] void run_child(const std::string& path, int pipe) {
  limit_child();
  try {
    const ImageFile file(path);
    file.read_labels(Split::kTrain);
    file.read_labels(Split::kTest);
    report(pipe, ExitCode::kOk, "");
  } catch (const Error& error) {
    report(pipe, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    report(pipe,
           ExitCode::kBadData,
           (path + ": opening it takes far more memory than an image set should. Import or "
                   "download it again.")
               .c_str());
  } catch (const std::exception& error) {
    report(pipe, ExitCode::kInternal, error.what());
  }
  _exit(0);
}

// Everything that the child writes until it ends or the deadline passes.
std::string read_report(int pipe) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(kTimeLimitSeconds + 5);
  std::string bytes;
  while (bytes.size() <= kMaxMessageBytes) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                          deadline - std::chrono::steady_clock::now())
                          .count();
    if (left <= 0) break;
    pollfd wait{pipe, POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    char buffer[1024];
    const ssize_t got = read(pipe, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(buffer, static_cast<size_t>(got));
  }
  return bytes;
}

}  // namespace

void probe_image_file(const std::string& path) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw_error(ExitCode::kInternal, "no pipe for the check of {}: {}", path, std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) {
    const int reason = errno;
    close(ends[0]);
    close(ends[1]);
    throw_error(
        ExitCode::kInternal, "no process for the check of {}: {}", path, std::strerror(reason));
  }
  if (child == 0) run_child(path, ends[1]);
  close(ends[1]);
  const std::string bytes = read_report(ends[0]);
  close(ends[0]);
  // Whatever it still does, its answer is known.
  kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (bytes.empty()) {
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const std::string how =
        signal == SIGALRM || signal == SIGKILL
            ? fmt::format("did not end within {} seconds", kTimeLimitSeconds)
            : fmt::format("crashed ({})", signal ? strsignal(signal) : "without a signal");
    throw_error(ExitCode::kBadData,
                "{}: a trial opening of the file {}. It is damaged or made to do harm: import or "
                "download it again.",
                path,
                how);
  }
  const auto code = static_cast<ExitCode>(static_cast<uint8_t>(bytes[0]));
  if (code != ExitCode::kOk) throw Error(code, bytes.substr(1));
}

}  // namespace lockstep
