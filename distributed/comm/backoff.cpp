#include "lockstep/distributed/comm/backoff.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace lockstep {

void Backoff::pause() {
  constexpr std::chrono::microseconds kSpin{200};
  constexpr int kShortestSleep = 5, kLongestSleep = 100;  // microseconds
  if (sleep_microseconds_ == 0) {
    if (std::chrono::steady_clock::now() - start_ < kSpin) {
      sched_yield();
      return;
    }
    sleep_microseconds_ = kShortestSleep;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(sleep_microseconds_));
  sleep_microseconds_ = std::min(2 * sleep_microseconds_, kLongestSleep);
}

}  // namespace lockstep
