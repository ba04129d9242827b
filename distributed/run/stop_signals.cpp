#include "lockstep/distributed/run/stop_signals.h"

#include <atomic>
#include <iterator>

namespace lockstep {
namespace {

// A signal handler can reach nothing but such a variable.
std::atomic<int> g_received{0};
std::atomic<bool> g_terminating{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

struct sigaction g_previous[std::size(kStopSignals)];

void on_signal(int number) {
  g_received.store(number);
  if (number == SIGTERM && g_terminating.exchange(true)) {
    // Delivered as soon as this handler returns.
    signal(SIGTERM, SIG_DFL);
    raise(SIGTERM);
  }
}

}  // namespace

StopSignals::StopSignals() {
  g_received = 0;
  g_terminating = false;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < std::size(kStopSignals); ++i)
    sigaction(kStopSignals[i], &action, &g_previous[i]);
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < std::size(kStopSignals); ++i)
    sigaction(kStopSignals[i], &g_previous[i], nullptr);
}

int StopSignals::received() { return g_received.load(); }

}  // namespace lockstep
