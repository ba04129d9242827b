// Draws from the Beta distribution by counters.
#pragma once

#include <cstdint>

#include "lockstep/core/random/random.h"

namespace lockstep {

// One draw from Beta(alpha, alpha), in [0, 1], alpha > 0: X / (X + Y) of two Gamma(alpha) draws by
// Marsaglia and Tsang, "A simple method for generating gamma variables" (2000; for alpha < 1 their
// section 6), in float64 and by logarithms, so that a small alpha does not underflow. A function of
// the key and (c1, c2, c3) alone, which must name nothing else: the first counter word is used up.
double symmetric_beta(const Philox& random, double alpha, uint32_t c1, uint32_t c2, uint32_t c3);

}  // namespace lockstep
