// Signals that ask a run to save and stop.
#pragma once

#include <signal.h>

namespace lockstep {

inline constexpr int kStopSignals[] = {SIGUSR1, SIGUSR2, SIGTERM};

// They set one flag each process; the second TERM ends the process at once. Installed for the
// object's lifetime.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  // The signal that arrived, or 0.
  static int received();
};

namespace detail {
inline void mask_stop_signals(int how) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : kStopSignals) sigaddset(&signals, number);
  pthread_sigmask(how, &signals, nullptr);
}
}  // namespace detail

// Holds them back where no StopSignals can live: while a process begins, and once its exit code is
// decided. Of this thread, and of the threads and the program (exec) that it starts.
inline void hold_stop_signals() { detail::mask_stop_signals(SIG_BLOCK); }
// What came meanwhile arrives now.
inline void release_stop_signals() { detail::mask_stop_signals(SIG_UNBLOCK); }

}  // namespace lockstep
