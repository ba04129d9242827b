// Waiting without holding a core.
#pragma once

#include <chrono>

namespace lockstep {

// A pause between two tests of something that a peer must complete: yields the core at first, for
// latency, then sleeps a little longer each time, so that more ranks than cores still work.
class Backoff {
 public:
  void pause();

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int sleep_microseconds_ = 0;
};

}  // namespace lockstep
