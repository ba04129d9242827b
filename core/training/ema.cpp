#include "lockstep/core/training/ema.h"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <torch/nn/module.h>

#include <cmath>

#include "lockstep/core/base/error.h"

namespace lockstep {

double initial_share(double decay, int64_t updates) {
  return std::pow(decay, static_cast<double>(updates));
}

bool average_lags(double decay, int64_t updates) {
  constexpr double kLargeShare = 0.01;
  return decay > 0 && updates > 0 && initial_share(decay, updates) > kLargeShare;
}

double fitting_decay(int64_t updates) {
  // 1 / (1 - decay) updates, the length of its memory, are a tenth of the run: e^-10 is left.
  constexpr double kWindows = 10, kLeastUpdates = 20;
  const auto count = static_cast<double>(updates);
  if (count < kLeastUpdates) return 0;
  const double step = std::pow(10.0, std::floor(std::log10(kWindows / count)));
  const double forgotten = std::ceil(kWindows / count / step - 1e-9) * step;
  return 1.0 - forgotten;
}

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
  // One launch on a GPU for all that is averaged, and one for the counters.
  std::vector<at::Tensor> averages, weights, copies, counters;
  for (auto& [current, average] : pairs_) {
    (current.is_floating_point() ? weights : counters).push_back(current);
    (current.is_floating_point() ? averages : copies).push_back(average);
  }
  at::_foreach_lerp_(averages, weights, 1.0 - decay_);
  if (!counters.empty()) at::_foreach_copy_(copies, counters);
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
