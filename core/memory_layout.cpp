#include "core/memory_layout.h"

namespace lockstep {

bool prefers_channels_last(const std::string& /*model*/,
                           at::ScalarType /*dtype*/,
                           at::DeviceType /*device*/) {
  // Every model and dtype measured so far, on CPUs, runs faster this way: tests/bench/README.md has
  // the numbers.
  return true;
}

}  // namespace lockstep
