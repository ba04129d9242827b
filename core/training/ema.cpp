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
  const auto add = [](Tensors& tensors, const at::Tensor& current) {
    tensors.current.push_back(current);
    tensors.average.push_back(current.clone());
  };
  add(averaged_, parameters.master());
  for (const at::Tensor& buffer : module.buffers())
    add(buffer.is_floating_point() ? averaged_ : copied_, buffer);
}

void WeightAverage::Tensors::copy() {
  if (!current.empty()) at::_foreach_copy_(average, current);
}

void WeightAverage::restart() {
  const at::NoGradGuard no_grad;
  for (Tensors* tensors : {&averaged_, &copied_}) tensors->copy();
}

void WeightAverage::update() {
  const at::NoGradGuard no_grad;
  // One launch on a GPU for each of the two.
  at::_foreach_lerp_(averaged_.average, averaged_.current, 1.0 - decay_);
  copied_.copy();
}

void WeightAverage::swap() {
  const at::NoGradGuard no_grad;
  for (Tensors* tensors : {&averaged_, &copied_}) {
    for (size_t i = 0; i < tensors->current.size(); ++i) {
      const at::Tensor kept = tensors->current[i].clone();
      tensors->current[i].copy_(tensors->average[i]);
      tensors->average[i].copy_(kept);
    }
  }
  parameters_.refresh_leaves();
}

}  // namespace lockstep
