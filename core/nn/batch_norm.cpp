#include "lockstep/core/nn/batch_norm.h"

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

at::Tensor composed_eval(const at::Tensor& x,
                         const at::Tensor& weight,
                         const at::Tensor& bias,
                         const at::Tensor& running_mean,
                         const at::Tensor& running_variance,
                         double epsilon,
                         const at::Tensor& residual,
                         bool relu) {
  at::Tensor y =
      at::batch_norm(x, weight, bias, running_mean, running_variance, false, 0.0, epsilon, false);
  if (residual.defined()) y = y + residual;
  return relu ? y.relu() : y;
}

}  // namespace

at::Tensor batch_norm_eval(const at::Tensor& x,
                           const at::Tensor& weight,
                           const at::Tensor& bias,
                           const at::Tensor& running_mean,
                           const at::Tensor& running_variance,
                           double epsilon,
                           const at::Tensor& residual,
                           bool relu) {
  const bool differentiable =
      at::GradMode::is_enabled() &&
      (x.requires_grad() || weight.requires_grad() || bias.requires_grad() ||
       (residual.defined() && residual.requires_grad()));
  if (differentiable || x.numel() == 0) {
    return composed_eval(x, weight, bias, running_mean, running_variance, epsilon, residual, relu);
  }
  const at::Tensor scale = weight * (running_variance + epsilon).rsqrt();
  const at::Tensor offset = bias - running_mean * scale;
  const at::MemoryFormat format = layout_of(x);
  return batch_norm_passes(x.device())
      .apply(in_layout(x, format), scale, offset, in_layout(residual, format), relu, {});
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
                              bool relu,
                              const at::Tensor& residual,
                              const at::Tensor& into) {
  if (!learns(context)) {
    LOCKSTEP_CHECK(!into.defined(), "running statistics normalise into new tensors only");
    return batch_norm_eval(x, weight, bias, running_mean, running_var, epsilon_, residual, relu);
  }
  std::vector<BatchNormPart> parts;
  if (into.defined()) parts.push_back({num_channels_, into});
  const BatchNormResult result = batch_norm_train(
      x, weight, bias, epsilon_, residual, relu, context.statistics_exchange, parts);
  keep(result.mean, result.unbiased_variance, result.has_variance, x.size(0));
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
    parts.push_back({layers[i]->num_channels_, into[i]});
  }
  const BatchNormResult result = batch_norm_train(x,
                                                  at::cat(weights),
                                                  at::cat(biases),
                                                  layers[0]->epsilon_,
                                                  {},
                                                  true,
                                                  context.statistics_exchange,
                                                  parts);
  int64_t begin = 0;
  for (BatchNorm* layer : layers) {
    const int64_t channels = layer->num_channels_;
    layer->keep(result.mean.narrow(0, begin, channels),
                result.unbiased_variance.narrow(0, begin, channels),
                result.has_variance,
                x.size(0));
    begin += channels;
  }
  return result.y;
}

void BatchNorm::keep(const at::Tensor& mean,
                     const at::Tensor& unbiased_variance,
                     const at::Tensor& has_variance,
                     int64_t num_images) {
  const at::NoGradGuard no_grad;
  const auto images = static_cast<double>(num_images);
  if (!contribution_.mean_sum.defined()) {
    running_mean.lerp_(mean, momentum_);
    running_var.add_((unbiased_variance - running_var) * has_variance, momentum_);
    num_batches_tracked.add_(1);
  } else if (num_images > 0) {
    contribution_.mean_sum.add_(mean, images);
    contribution_.mean_images.add_(images);
    contribution_.variance_sum.add_(unbiased_variance, images);  // 0 without a variance
    contribution_.variance_images.add_(has_variance, images);
  }
}

}  // namespace lockstep
