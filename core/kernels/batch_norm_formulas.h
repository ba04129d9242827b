// The per-channel formulas between the passes of fused batch normalisation, for the host and CUDA
// kernels alike: plain memory, no LibTorch, C++17. All in float64, whatever the activations are.
#pragma once

#include <cmath>
#include <cstdint>

namespace lockstep::kernels {

// Σ (x - shift) and Σ (x - shift)² over `count` values become Σ x and Σ x².
constexpr void move_moments_to_zero(double shift,
                                    double count,
                                    double& sum,
                                    double& sum_of_squares) {
  sum_of_squares += 2 * shift * sum + count * shift * shift;
  sum += count * shift;
}

// From the moments of what is normalised together to y = x * scale + offset (Ioffe and Szegedy
// 2015, algorithm 1).
struct CoefficientsOfMoments {
  int64_t channels;
  const double* moments;       // [2C + 1]: Σ x, Σ x², values per channel
  const float *weight, *bias;  // [C]
  double epsilon;
  // Written; [C] each but the last:
  float *mean, *inverse_deviation, *unbiased_variance, *scale, *offset;
  float* has_variance;  // [1]: 1 if there was more than one value per channel, else 0

  // Those of channel c; channel 0's writes has_variance too.
  constexpr void write(int64_t c) const {
    const double count = moments[2 * channels];
    const double m = count > 0 ? moments[c] / count : 0.0;
    double variance = count > 0 ? moments[channels + c] / count - m * m : 0.0;
    if (variance < 0) variance = 0;  // rounding; NaN stays
    const double inverse = 1.0 / std::sqrt(variance + epsilon);
    const double s = weight[c] * inverse;
    mean[c] = static_cast<float>(m);
    inverse_deviation[c] = static_cast<float>(inverse);
    unbiased_variance[c] = count > 1 ? static_cast<float>(variance * count / (count - 1)) : 0.0f;
    scale[c] = static_cast<float>(s);
    offset[c] = static_cast<float>(bias[c] - m * s);
    if (c == 0) has_variance[0] = count > 1 ? 1.0f : 0.0f;
  }
};

// From the sums over the gradient g to dx, as BackwardMap has it:
// dx = weight / σ (g - Σg / n - (x - mean) Σg (x - mean) / (n σ²)).
struct SlopesOfSums {
  int64_t channels;
  const double* sums;                              // [2C]: Σ g, Σ g (x - mean)
  const double* count;                             // [1]: n, values per channel
  const float *weight, *mean, *inverse_deviation;  // [C]
  float* slopes;                                   // [3C], written

  // The three of channel c.
  constexpr void write(int64_t c) const {
    const double n = *count > 1 ? *count : 1.0;
    const double inverse = inverse_deviation[c];
    const double factor = weight[c] * inverse;
    const double slope = sums[channels + c] / n * inverse * inverse;
    slopes[c] = static_cast<float>(factor);
    slopes[channels + c] = static_cast<float>(-factor * slope);
    slopes[2 * channels + c] = static_cast<float>(factor * (slope * mean[c] - sums[c] / n));
  }
};

}  // namespace lockstep::kernels
