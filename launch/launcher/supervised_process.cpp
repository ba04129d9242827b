#include "lockstep/launch/launcher/supervised_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
constexpr std::time_t kSecondsToEnd = 10, kSecondsBetweenLooks = 5;
constexpr int kMostIdleLooks = 6;

// While it lives these signals, and the end of a child, are waited for instead of acting.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&set_);
    for (const int signal : kStopSignals) sigaddset(&set_, signal);
    sigaddset(&set_, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  const sigset_t& before() const { return before_; }
  // The next of them; 0 when none has come in so many seconds.
  int wait(std::time_t seconds) const {
    const timespec limit{seconds, 0};
    for (;;) {
      const int signal = sigtimedwait(&set_, nullptr, &limit);
      if (signal > 0) return signal;
      if (errno == EAGAIN) return 0;
    }
  }

 private:
  sigset_t set_{}, before_{};
};

[[noreturn]] void become(const std::vector<std::string>& command,
                         const sigset_t& mask,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);  // it ended before it could be told
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

// Whether a child has finished its work, and has not ended for long.
class Idleness {
 public:
  Idleness(const Supervision& supervision, pid_t child)
      : supervision_(supervision), child_(child) {}
  bool lasts() {
    if (!supervision_.is_at_work) return false;
    const bool at_work = supervision_.is_at_work(child_);
    has_worked_ |= at_work;
    looks_ = at_work || !has_worked_ ? 0 : looks_ + 1;
    return looks_ > kMostIdleLooks;
  }

 private:
  const Supervision& supervision_;
  pid_t child_;
  bool has_worked_ = false;
  int looks_ = 0;
};

}  // namespace

ProcessEnd run_supervised(const std::vector<std::string>& command, const Supervision& supervision) {
  const HeldSignals signals;
  const pid_t self = getpid(), child = fork();
  if (child < 0)
    throw_error(ExitCode::kInputOutput, "cannot start {}: {}", command[0], std::strerror(errno));
  if (child == 0) become(command, signals.before(), self);
  setpgid(child, child);  // whoever comes first
  ProcessEnd end;
  Idleness idleness(supervision, child);
  bool ending = false;
  const auto begin_to_end = [&](const char* why) {
    if (!ending) supervision.on_end(why);
    ending = true;
    kill(child, SIGTERM);
  };
  for (;;) {
    const int signal = signals.wait(ending ? kSecondsToEnd : kSecondsBetweenLooks);
    if (signal == SIGCHLD) {
      int status = 0;
      if (waitpid(child, &status, WNOHANG) != child) continue;
      end.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      return end;
    }
    if (signal == 0 && ending) {
      kill(-child, SIGKILL);
    } else if (signal == 0) {
      if (idleness.lasts()) begin_to_end("the ranks are gone, but mpirun goes on: ending it");
    } else if (!end.stop_requested) {
      end.stop_requested = true;
      supervision.ask_to_stop(child);
    } else if (signal != SIGUSR1 && signal != SIGUSR2) {
      begin_to_end("ending the ranks");
    }
  }
}

}  // namespace lockstep
