#include "lockstep/core/training/ema.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sub.h>
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

void WeightAverage::update(const at::Tensor& skip) {
  const at::NoGradGuard no_grad;
  if (!skip.defined() || skip.is_cpu()) {
    if (skip.defined() && skip.item<float>() != 0) return;
    at::_foreach_lerp_(averaged_.average, averaged_.current, 1.0 - decay_);
  } else {
    // The same in three launches that read the device's decision.
    const auto steps = at::_foreach_sub(averaged_.current, averaged_.average);
    at::_foreach_mul_(steps, (1.0 - skip) * (1.0 - decay_));
    at::_foreach_add_(averaged_.average, steps);
  }
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
