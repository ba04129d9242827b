#include "lockstep/core/nn/batch_norm.h"

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/tensor.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

at::Tensor composed_eval(const BatchNormInput& in,
                         const at::Tensor& running_mean,
                         const at::Tensor& running_variance) {
  at::Tensor y = at::batch_norm(in.x,
                                in.weight,
                                in.bias,
                                running_mean,
                                running_variance,
                                /*training=*/false,
                                /*momentum=*/0.0,
                                in.epsilon,
                                /*cudnn_enabled=*/false);
  if (in.residual.defined()) y = y + in.residual;
  return in.relu ? y.relu() : y;
}

}  // namespace

at::Tensor batch_norm_eval(const BatchNormInput& in,
                           const at::Tensor& running_mean,
                           const at::Tensor& running_variance) {
  const bool differentiable =
      at::GradMode::is_enabled() &&
      (in.x.requires_grad() || in.weight.requires_grad() || in.bias.requires_grad() ||
       (in.residual.defined() && in.residual.requires_grad()));
  if (differentiable || in.x.numel() == 0) return composed_eval(in, running_mean, running_variance);
  const at::Tensor scale = in.weight * (running_variance + in.epsilon).rsqrt();
  const at::MemoryFormat format = layout_of(in.x);
  return batch_norm_passes(in.x.device())
      .apply({.x = in_layout(in.x, format),
              .groups = {.images = in.x.size(0)},
              .scale = scale,
              .offset = in.bias - running_mean * scale,
              .residual = in_layout(in.residual, format),
              .relu = in.relu,
              .into = {}});
}

BatchNorm::BatchNorm(int64_t num_channels, double epsilon, double momentum)
    : num_channels_(num_channels), epsilon_(epsilon), momentum_(momentum) {
  weight = register_parameter("weight", torch::ones({num_channels}));
  bias = register_parameter("bias", torch::zeros({num_channels}));
  running_mean = register_buffer("running_mean", torch::zeros({num_channels}));
  running_var = register_buffer("running_var", torch::ones({num_channels}));
  num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
}

at::Tensor BatchNorm::forward(const at::Tensor& x,
                              const StepContext& context,
                              const BatchNormExtras& extras) {
  const BatchNormInput input{.x = x,
                             .weight = weight,
                             .bias = bias,
                             .epsilon = epsilon_,
                             .relu = extras.relu,
                             .residual = extras.residual,
                             .groups = context.norm_groups};
  if (!learns(context)) {
    LOCKSTEP_CHECK(!extras.into.defined(), "running statistics normalise into new tensors only");
    return batch_norm_eval(input, running_mean, running_var);
  }
  const BatchNormResult result = batch_norm_train(
      input, context.statistics_exchange, {{num_channels_, extras.into, contribution_}});
  move_running_statistics(input, result.mean, result.unbiased_variance, result.has_variance);
  return result.y[0];
}

std::vector<at::Tensor> BatchNorm::forward_together(const at::Tensor& x,
                                                    const std::vector<BatchNorm*>& layers,
                                                    const StepContext& context,
                                                    const std::vector<at::Tensor>& into) {
  LOCKSTEP_CHECK(into.size() == layers.size(), "each batch norm taken together has a place for y");
  std::vector<at::Tensor> weights, biases;
  std::vector<BatchNormPart> parts;
  for (size_t i = 0; i < layers.size(); ++i) {
    LOCKSTEP_CHECK(layers[i]->learns(context) && layers[i]->epsilon_ == layers[0]->epsilon_,
                   "batch norms are taken together in training, where they have one epsilon");
    weights.push_back(layers[i]->weight);
    biases.push_back(layers[i]->bias);
    parts.push_back({layers[i]->num_channels_, into[i], layers[i]->contribution_});
  }
  const BatchNormInput input{.x = x,
                             .weight = at::cat(weights),
                             .bias = at::cat(biases),
                             .epsilon = layers[0]->epsilon_,
                             .relu = true,
                             .groups = context.norm_groups};
  const BatchNormResult result = batch_norm_train(input, context.statistics_exchange, parts);
  int64_t begin = 0;
  for (BatchNorm* layer : layers) {
    const int64_t channels = layer->num_channels_;
    layer->move_running_statistics(input,
                                   result.mean.narrow(1, begin, channels),
                                   result.unbiased_variance.narrow(1, begin, channels),
                                   result.has_variance);
    begin += channels;
  }
  return result.y;
}

// As PyTorch does, where nothing collects the contributions; groups weigh by their images.
void BatchNorm::move_running_statistics(const BatchNormInput& input,
                                        const at::Tensor& mean,
                                        const at::Tensor& unbiased_variance,
                                        const at::Tensor& has_variance) {
  if (contribution_.mean_sum.defined()) return;
  const at::NoGradGuard no_grad;
  std::vector<float> sizes{1};
  if (input.groups) {
    sizes.clear();
    for (int64_t g = 0; g < input.groups->count; ++g)
      sizes.push_back(static_cast<float>(input.groups->size(g)));
  }
  const at::Tensor images = at::tensor(sizes, mean.options());
  const at::Tensor with_variance = images * has_variance;
  const auto mean_of = [](const at::Tensor& values, const at::Tensor& weights) {
    return at::mv(values.t(), weights / weights.sum().clamp_min(1));
  };
  running_mean.lerp_(mean_of(mean, images), momentum_);
  running_var.add_((mean_of(unbiased_variance, with_variance) - running_var) * has_variance.amax(),
                   momentum_);
  num_batches_tracked.add_(1);
}

}  // namespace lockstep
