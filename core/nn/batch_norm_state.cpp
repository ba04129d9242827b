#include "lockstep/core/nn/batch_norm_state.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/module.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {

BatchNormState::BatchNormState(torch::nn::Module& module) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> means, variances, counts, momenta, layer_numbers;
  // Not modules(): that would refuse a module on the stack.
  module.apply([&](torch::nn::Module& child) {
    auto* layer = child.as<BatchNorm>();
    if (!layer || layer->frozen()) return;
    layers_.push_back(layer->shared_from_this());
    means.push_back(layer->running_mean);
    variances.push_back(layer->running_var);
    counts.push_back(layer->num_batches_tracked.view({1}));
    momenta.push_back(at::full_like(layer->running_mean, layer->momentum()));
    layer_numbers.push_back(
        at::full({layer->num_channels()}, num_layers_, counts.back().options()));
    ++num_layers_;
    num_channels_ += layer->num_channels();
  });
  if (layers_.empty()) return;
  running_mean_ = at::cat(means);
  running_var_ = at::cat(variances);
  num_batches_ = at::cat(counts);
  momentum_ = at::cat(momenta);
  layer_of_channel_ = at::cat(layer_numbers);
  int64_t channel = 0;
  for (int64_t i = 0; i < num_layers_; ++i) {
    auto* layer = layers_[static_cast<size_t>(i)]->as<BatchNorm>();
    layer->running_mean.set_data(running_mean_.narrow(0, channel, layer->num_channels()));
    layer->running_var.set_data(running_var_.narrow(0, channel, layer->num_channels()));
    layer->num_batches_tracked.set_data(num_batches_[i]);
    channel += layer->num_channels();
  }
}

void BatchNormState::attach(const at::Tensor& storage) {
  LOCKSTEP_CHECK(storage.numel() == contribution_size(),
                 "batch-norm storage has {} elements",
                 storage.numel());
  storage_ = storage;
  int64_t channel = 0;
  for (int64_t i = 0; i < num_layers_; ++i) {
    auto* layer = layers_[static_cast<size_t>(i)]->as<BatchNorm>();
    layer->attach(
        {.mean_sum = storage.narrow(0, channel, layer->num_channels()),
         .variance_sum = storage.narrow(0, num_channels_ + channel, layer->num_channels()),
         .mean_images = storage.narrow(0, 2 * num_channels_ + i, 1),
         .variance_images = storage.narrow(0, 2 * num_channels_ + num_layers_ + i, 1)});
    channel += layer->num_channels();
  }
}

void BatchNormState::update(const at::Tensor& skip) {
  if (layers_.empty()) return;
  const at::NoGradGuard no_grad;
  const bool on_gpu = skip.defined() && skip.is_cuda();  // its number must not be waited for
  if (skip.defined() && !on_gpu && skip.item<float>() != 0) return;
  const auto move = [&](at::Tensor& running, int64_t sums_at, int64_t images_at) {
    at::Tensor images = storage_.narrow(0, images_at, num_layers_);
    if (on_gpu) images = images * (1.0 - skip);
    images = images.index_select(0, layer_of_channel_);
    const at::Tensor mean = storage_.narrow(0, sums_at, num_channels_) / images.clamp_min(1.0);
    running.add_(
        at::where(images > 0, (mean - running) * momentum_, at::zeros({}, running.options())));
  };
  move(running_mean_, 0, 2 * num_channels_);
  move(running_var_, num_channels_, 2 * num_channels_ + num_layers_);
  if (on_gpu) {
    num_batches_.add_(skip == 0);
  } else {
    num_batches_.add_(1);
  }
}

}  // namespace lockstep
