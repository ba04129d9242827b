#include "lockstep/core/random/beta_distribution.h"

#include <array>
#include <cmath>
#include <numbers>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

double uniform(uint32_t bits) { return (bits + 0.5) * 0x1p-32; }  // in (0, 1)

// Gamma(alpha) as G * U^(1 / alpha) with G from Gamma(alpha + 1): the logarithms of G and U.
struct GammaDraw {
  double log_gamma, log_uniform;
};

GammaDraw draw_gamma(const Philox& random,
                     double alpha,
                     uint32_t which,
                     const std::array<uint32_t, 3>& counter) {
  const double d = alpha + 1.0 - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (uint32_t attempt = 0;; ++attempt) {  // nearly always accepts the first
    const auto words = random(2 * attempt + which, counter[0], counter[1], counter[2]);
    const double normal = std::sqrt(-2.0 * std::log(uniform(words[0]))) *
                          std::cos(2.0 * std::numbers::pi * uniform(words[1]));
    const double root = 1.0 + c * normal;
    if (root <= 0.0) continue;
    const double log_v = 3.0 * std::log(root);
    if (std::log(uniform(words[2])) < 0.5 * normal * normal + d - d * std::exp(log_v) + d * log_v) {
      return {std::log(d) + log_v, std::log(uniform(words[3]))};
    }
  }
}

}  // namespace

double symmetric_beta(const Philox& random, double alpha, uint32_t c1, uint32_t c2, uint32_t c3) {
  LOCKSTEP_CHECK(alpha > 0, "a Beta distribution with alpha {}", alpha);
  const GammaDraw x = draw_gamma(random, alpha, 0, {c1, c2, c3});
  const GammaDraw y = draw_gamma(random, alpha, 1, {c1, c2, c3});
  // log(Y / X); the uniforms' difference comes first, since each divided by a tiny alpha is -inf.
  const double log_ratio = y.log_gamma - x.log_gamma + (y.log_uniform - x.log_uniform) / alpha;
  return 1.0 / (1.0 + std::exp(log_ratio));
}

}  // namespace lockstep
