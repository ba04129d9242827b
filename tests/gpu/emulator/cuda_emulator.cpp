#include "tests/gpu/emulator/cuda_emulator.h"

namespace lockstep::emulator {

void wait_for_warp(int line, uint32_t mask) { exchange_in_warp(line, mask, 0, lane()); }

int lane_behind(unsigned delta) {
  return lane() + static_cast<int>(delta) < kLanes ? lane() + static_cast<int>(delta) : lane();
}

}  // namespace lockstep::emulator
