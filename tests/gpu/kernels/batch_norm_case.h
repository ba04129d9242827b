// One call of the batch normalisation kernels: its shape, what it is given and room for what it
// makes.
#pragma once

#include <cmath>
#include <ostream>
#include <random>
#include <vector>

#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {

struct BatchNormKernelCase {
  ImageGroups groups;
  int64_t channels, spatial;
  bool channels_last, bf16, relu, residual;
  size_t shift;  // of x and dx, in elements, from 16 bytes
  double mean;   // typical size of the channels' means

  int64_t n() const { return groups.begin(groups.count); }
  size_t size() const { return static_cast<size_t>(n() * channels * spatial); }
  // Of what there is per group and channel.
  size_t slots() const { return static_cast<size_t>(groups.count * channels); }
  size_t channel_of(size_t i) const {
    const auto c = static_cast<size_t>(channels), s = static_cast<size_t>(spatial);
    return channels_last ? i % c : i / s % c;
  }
  size_t slot_of(size_t i) const {
    const auto image = static_cast<int64_t>(i) / (channels * spatial);
    int64_t g = 0;
    while (groups.begin(g + 1) <= image) ++g;
    return static_cast<size_t>(g * channels) + channel_of(i);
  }
  size_t group_of_slot(size_t slot) const { return slot / static_cast<size_t>(channels); }
  size_t channel_of_slot(size_t slot) const { return slot % static_cast<size_t>(channels); }
  // Values that slot's statistics are of.
  double count(size_t slot) const {
    return static_cast<double>(groups.size(static_cast<int64_t>(group_of_slot(slot))) * spatial);
  }
  kernels::Activation shape() const {
    return {.n = n(),
            .channels = channels,
            .spatial = spatial,
            .channels_last = channels_last,
            .bf16 = bf16,
            .x_stride = channels,
            .y_stride = channels,
            .groups = groups,
            .group_stride = channels};
  }
};

inline std::ostream& operator<<(std::ostream& out, const BatchNormKernelCase& c) {
  return out << c.n() << " x " << c.channels << " x " << c.spatial << " groups " << c.groups.first
             << " and " << c.groups.count << " of " << c.groups.of
             << (c.channels_last ? " channels-last" : "") << (c.bf16 ? " bf16" : " fp32")
             << (c.relu ? " relu" : "") << (c.residual ? " residual" : "") << " shift " << c.shift
             << " mean " << c.mean;
}

// What the kernels are given.
struct BatchNormInputs {
  explicit BatchNormInputs(const BatchNormKernelCase& c)
      : x(c.bf16, c.size(), c.shift),
        dy(c.bf16, c.size(), 0),
        residual(c.bf16, c.size(), 0),
        weight(static_cast<size_t>(c.channels)),
        bias(static_cast<size_t>(c.channels)) {
    std::mt19937_64 random(c.size());
    std::normal_distribution<double> normal;
    std::vector<double> means(static_cast<size_t>(c.channels));
    for (double& mean : means) mean = c.mean * normal(random);
    for (size_t i = 0; i < c.size(); ++i) {
      x.set(i, means[c.channel_of(i)] + normal(random));
      dy.set(i, normal(random));
      residual.set(i, normal(random));
    }
    for (size_t k = 0; k < weight.size(); ++k) {
      weight[k] = static_cast<float>(0.5 + std::fabs(normal(random)));
      bias[k] = static_cast<float>(normal(random));
    }
  }
  Numbers x, dy, residual;
  GuardedMemory<float> weight, bias;
};

// What they make of it, forward and backward.
struct BatchNormOutputs {
  explicit BatchNormOutputs(const BatchNormKernelCase& c)
      : moments(c.slots() * 2 + static_cast<size_t>(c.groups.count)),
        sums(c.slots() * 2),
        mean(c.slots()),
        inverse(c.slots()),
        unbiased(c.slots()),
        scale(c.slots()),
        offset(c.slots()),
        has_variance(static_cast<size_t>(c.groups.count)),
        slopes(c.slots() * 3),
        dweight(static_cast<size_t>(c.channels)),
        dbias(dweight.size()),
        mean_sum(dweight.size()),
        variance_sum(dweight.size()),
        images(2),
        y(c.bf16, c.size(), 0),
        dx(c.bf16, c.size(), c.shift),
        masked(c.bf16, c.size(), 0) {
    // What was there before the layer adds its statistics.
    for (size_t k = 0; k < mean_sum.size(); ++k) mean_sum[k] = variance_sum[k] = 0.5f;
    images[0] = images[1] = 3.0f;
  }
  GuardedMemory<double> moments, sums;
  GuardedMemory<float> mean, inverse, unbiased, scale, offset, has_variance, slopes;
  GuardedMemory<float> dweight, dbias, mean_sum, variance_sum, images;
  Numbers y, dx, masked;
};

}  // namespace lockstep::test
