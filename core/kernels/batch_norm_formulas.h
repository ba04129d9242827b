// The formulas per group and channel between the passes of fused batch normalisation, for the host
// and CUDA kernels alike: plain memory, no LibTorch, C++17. All in float64, whatever the
// activations are.
#pragma once

#include <cmath>
#include <cstdint>

#include "lockstep/core/base/image_groups.h"

namespace lockstep::kernels {

// Σ (x - shift) and Σ (x - shift)² over `count` values become Σ x and Σ x².
constexpr void move_moments_to_zero(double shift,
                                    double count,
                                    double& sum,
                                    double& sum_of_squares) {
  sum_of_squares += 2 * shift * sum + count * shift * shift;
  sum += count * shift;
}

// What a layer adds its batch statistics to (see BatchNormContribution).
struct StatisticsContribution {
  float *mean_sum, *variance_sum;        // [C]
  float *mean_images, *variance_images;  // [1]

  // Channel c's sums over groups; channel 0's adds the images too.
  constexpr void add(
      int64_t c, double mean, double variance, double images, double with_variance) const {
    const float mean_before = mean_sum[c], variance_before = variance_sum[c];
    mean_sum[c] = mean_before + static_cast<float>(mean);
    variance_sum[c] = variance_before + static_cast<float>(variance);
    if (c != 0) return;
    mean_images[0] += static_cast<float>(images);
    variance_images[0] += static_cast<float>(with_variance);
  }
};

// From the moments of what is normalised together to y = x * scale + offset (Ioffe and Szegedy
// 2015, algorithm 1).
struct CoefficientsOfMoments {
  ImageGroups groups;
  int64_t channels;
  double* moments;             // [groups, 2C + 1]: Σ x, Σ x², values per channel
  const float *weight, *bias;  // [C]
  double epsilon;
  // Written; [groups, C] each but the last:
  float *mean, *inverse_deviation, *unbiased_variance, *scale, *offset;
  float* has_variance;  // [groups]: 1 if there was more than one value per channel, else 0

  constexpr double* moments_of(int64_t g) const { return moments + g * (2 * channels + 1); }

  // What is read of channel c: apart, for kernels that wait for nothing else meanwhile.
  struct Operands {
    float weight, bias;
  };
  constexpr Operands operands(int64_t c) const { return {weight[c], bias[c]}; }

  // Those of group g's channel c; channel 0's writes has_variance too.
  constexpr void write(int64_t g, int64_t c) const {
    const double* of_group = moments_of(g);
    write(g, c, of_group[c], of_group[channels + c], of_group[2 * channels], operands(c));
  }
  constexpr void write(int64_t g,
                       int64_t c,
                       double sum,
                       double sum_of_squares,
                       double count,
                       const Operands& of) const {
    const double m = count > 0 ? sum / count : 0.0;
    double variance = count > 0 ? sum_of_squares / count - m * m : 0.0;
    if (variance < 0) variance = 0;  // rounding; NaN stays
    const double inverse = 1.0 / std::sqrt(variance + epsilon);
    const double s = of.weight * inverse;
    const int64_t at = g * channels + c;
    mean[at] = static_cast<float>(m);
    inverse_deviation[at] = static_cast<float>(inverse);
    unbiased_variance[at] = count > 1 ? static_cast<float>(variance * count / (count - 1)) : 0.0f;
    scale[at] = static_cast<float>(s);
    offset[at] = static_cast<float>(of.bias - m * s);
    if (c == 0) has_variance[g] = count > 1 ? 1.0f : 0.0f;
  }

  // Adds what write() has written for channel c in all groups, each weighted by its images, to
  // channel `c - begin` of `to`.
  constexpr void contribute(int64_t c, int64_t begin, const StatisticsContribution& to) const {
    double mean_sum = 0, variance_sum = 0, with_variance = 0;
    for (int64_t g = 0; g < groups.count; ++g) {
      const auto size = static_cast<double>(groups.size(g));
      mean_sum += size * mean[g * channels + c];
      variance_sum += size * unbiased_variance[g * channels + c];
      if (c == 0) with_variance += size * has_variance[g];
    }
    const auto images = static_cast<double>(groups.begin(groups.count));
    to.add(c - begin, mean_sum, variance_sum, images, with_variance);
  }
};

// From the sums over the gradient g to dx, as BackwardMap has it:
// dx = weight / σ (g - Σg / n - (x - mean) Σg (x - mean) / (n σ²)),
// and to the gradients of weight and bias. Pointers are those of some of a norm's `stride`
// channels.
struct GradientsOfSums {
  int64_t groups, stride;
  double* sums;          // [groups, 2, stride]: Σ g, Σ g (x - mean)
  const double* counts;  // n, values per channel, of group g at [g * (2 * stride + 1)]
  const float* weight;
  const float *mean, *inverse_deviation;  // [groups, stride]
  // Written:
  float* slopes;           // [groups, 3, stride]
  float *dweight, *dbias;  // [stride]

  constexpr double* sums_of(int64_t g) const { return sums + g * 2 * stride; }

  // What is read of group g's channel c.
  struct Operands {
    double count;
    float weight, mean, inverse_deviation;
  };
  constexpr Operands operands(int64_t g, int64_t c) const {
    const int64_t at = g * stride + c;
    return {counts[g * (2 * stride + 1)], weight[c], mean[at], inverse_deviation[at]};
  }

  // The slopes of group g's channel c.
  constexpr void write_slopes(int64_t g, int64_t c) const {
    write_slopes(g, c, sums_of(g)[c], sums_of(g)[stride + c], operands(g, c));
  }
  constexpr void write_slopes(
      int64_t g, int64_t c, double sum, double sum_of_products, const Operands& of) const {
    const double n = of.count > 1 ? of.count : 1.0;
    const double inverse = of.inverse_deviation;
    const double factor = of.weight * inverse;
    const double slope = sum_of_products / n * inverse * inverse;
    float* out = slopes + g * 3 * stride + c;
    out[0] = static_cast<float>(factor);
    out[stride] = static_cast<float>(-factor * slope);
    out[2 * stride] = static_cast<float>(factor * (slope * of.mean - sum / n));
  }

  constexpr void write_weight_gradients(int64_t c) const {
    double first = 0, second = 0;
    for (int64_t g = 0; g < groups; ++g) {
      first += sums_of(g)[c];
      second += sums_of(g)[stride + c] * inverse_deviation[g * stride + c];
    }
    dbias[c] = static_cast<float>(first);
    dweight[c] = static_cast<float>(second);
  }
};

}  // namespace lockstep::kernels
