#include "lockstep/core/training/ema.h"

#include <torch/nn/module.h>

#include "lockstep/core/base/error.h"

namespace lockstep {

WeightAverage::WeightAverage(const torch::nn::Module& module,
                             FlatParameters& parameters,
                             double decay)
    : parameters_(parameters), decay_(decay) {
  LOCKSTEP_CHECK(decay >= 0 && decay < 1, "an averaging decay of {}", decay);
  const at::NoGradGuard no_grad;
  pairs_.emplace_back(parameters.master(), parameters.master().clone());
  for (const at::Tensor& buffer : module.buffers()) pairs_.emplace_back(buffer, buffer.clone());
}

void WeightAverage::restart() {
  const at::NoGradGuard no_grad;
  for (auto& [current, average] : pairs_) average.copy_(current);
}

void WeightAverage::update() {
  const at::NoGradGuard no_grad;
  for (auto& [current, average] : pairs_) {
    if (current.is_floating_point()) {
      average.lerp_(current, 1.0 - decay_);
    } else {
      average.copy_(current);
    }
  }
}

void WeightAverage::swap() {
  const at::NoGradGuard no_grad;
  for (auto& [current, average] : pairs_) {
    const at::Tensor kept = current.clone();
    current.copy_(average);
    average.copy_(kept);
  }
  parameters_.refresh_leaves();
}

}  // namespace lockstep
