#include "lockstep/core/nn/batch_norm_state.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <torch/nn/module.h>
#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/kernels/update_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"
#endif

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/running_statistics.h"
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

kernels::RunningStatistics BatchNormState::running_statistics() const {
  const float* sums = storage_.const_data_ptr<float>();
  return {.channels = num_channels_,
          .layers = num_layers_,
          .layer_of_channel = layer_of_channel_.const_data_ptr<int64_t>(),
          .momentum = momentum_.const_data_ptr<float>(),
          .mean_sum = sums,
          .variance_sum = sums + num_channels_,
          .mean_images = sums + 2 * num_channels_,
          .variance_images = sums + 2 * num_channels_ + num_layers_,
          .mean = running_mean_.mutable_data_ptr<float>(),
          .variance = running_var_.mutable_data_ptr<float>(),
          .batches = num_batches_.mutable_data_ptr<int64_t>()};
}

void BatchNormState::update(const at::Tensor& skip) {
  if (layers_.empty()) return;
  const kernels::RunningStatistics statistics = running_statistics();
#ifdef LOCKSTEP_WITH_CUDA
  if (running_mean_.is_cuda()) {
    const float* skipped = skip.defined() ? skip.const_data_ptr<float>() : nullptr;
    launch_kernel(running_mean_.device(), [&](void* stream) {
      kernels::cuda::move_running_statistics(statistics, skipped, stream);
    });
    return;
  }
#endif
  if (skip.defined() && skip.item<float>() != 0) return;
  for (int64_t channel = 0; channel < num_channels_; ++channel) statistics.move_channel(channel);
  for (int64_t layer = 0; layer < num_layers_; ++layer) ++statistics.batches[layer];
}

}  // namespace lockstep
