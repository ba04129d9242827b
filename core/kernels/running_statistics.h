// How an update moves the running statistics of all batch-norm layers, for the host and CUDA alike:
// plain memory, no LibTorch, C++17.
#pragma once

#include <cstdint>

namespace lockstep::kernels {

// Of `layers` layers, all their `channels` one behind another.
struct RunningStatistics {
  int64_t channels, layers;
  const int64_t* layer_of_channel;  // [channels]
  const float* momentum;            // [channels]
  // Sums over the global batch, each image's statistics counted once; [channels] and [layers].
  const float *mean_sum, *variance_sum, *mean_images, *variance_images;
  float *mean, *variance;  // moved: [channels]
  int64_t* batches;        // counted: [layers]

  constexpr void move_channel(int64_t channel) const {
    const int64_t layer = layer_of_channel[channel];
    move(mean[channel], mean_sum[channel], mean_images[layer], momentum[channel]);
    move(variance[channel], variance_sum[channel], variance_images[layer], momentum[channel]);
  }

 private:
  // A layer without contribution keeps its values.
  static constexpr void move(float& running, float sum, float images, float momentum) {
    if (images > 0) running += (sum / (images < 1 ? 1 : images) - running) * momentum;
  }
};

}  // namespace lockstep::kernels
