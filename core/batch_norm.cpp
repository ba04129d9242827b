#include "core/batch_norm.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "core/batch_norm_passes.h"
#include "core/error.h"

namespace lockstep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The layout the kernels work in: channels-last where x is, else channels-first; contiguous either
// way.
at::MemoryFormat layout_of(const at::Tensor& x) {
  return x.dim() == 4 ? x.suggest_memory_format() : at::MemoryFormat::Contiguous;
}

at::Tensor in_layout(const at::Tensor& tensor, at::MemoryFormat format) {
  return tensor.defined() ? tensor.contiguous(format) : tensor;
}

// What forward learns besides y: the caller's statistics, which autograd does not follow.
struct Learned {
  at::Tensor mean, unbiased_variance, has_variance;
};

struct FusedBatchNorm : public torch::autograd::Function<FusedBatchNorm> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_in,
                            const at::Tensor& weight,
                            const at::Tensor& bias,
                            const std::optional<at::Tensor>& residual_in,
                            double epsilon,
                            bool relu,
                            StatisticsExchange* exchange,
                            Learned* learned) {
    const at::MemoryFormat format = layout_of(x_in);
    const at::Tensor x = in_layout(x_in, format);
    const at::Tensor residual = residual_in ? in_layout(*residual_in, format) : at::Tensor();
    auto& passes = batch_norm_passes(x.device());

    at::Tensor moments = passes.moments(x);  // [2C + 1] float64: Σx, Σx², count
    if (exchange) exchange->sum(moments);
    BatchNormCoefficients coefficients = passes.coefficients(moments, weight, bias, epsilon);
    const at::Tensor y = passes.apply(x, coefficients.scale, coefficients.offset, residual, relu);

    learned->mean = coefficients.mean;
    learned->unbiased_variance = coefficients.unbiased_variance;
    learned->has_variance = coefficients.has_variance;
    // Without a residual the ReLU's mask is recomputed from x; with one, y is needed.
    const bool keep_y = relu && residual.defined();
    context->save_for_backward({x,
                                weight,
                                coefficients.mean,
                                coefficients.inverse_deviation,
                                coefficients.scale,
                                coefficients.offset,
                                keep_y ? y : at::Tensor(),
                                moments.narrow(0, 2 * weight.numel(), 1)});
    context->saved_data["relu"] = relu;
    context->saved_data["has_residual"] = residual.defined();
    context->saved_data["exchange"] = reinterpret_cast<int64_t>(exchange);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2],
                     &inverse_deviation = saved[3], &y = saved[6];
    const BatchNormMask mask{.relu = context->saved_data["relu"].toBool(),
                             .scale = saved[4],
                             .offset = saved[5],
                             .y = y};
    const bool has_residual = context->saved_data["has_residual"].toBool();
    auto* exchange = reinterpret_cast<StatisticsExchange*>(context->saved_data["exchange"].toInt());
    const at::Tensor dy = gradients[0].to(x.scalar_type()).contiguous(layout_of(x));
    auto& passes = batch_norm_passes(x.device());

    // sums: [2C] float64: Σg, Σg (x - mean), g being dy where the ReLU was open.
    at::Tensor masked = y.defined() ? at::empty_like(dy) : at::Tensor();
    at::Tensor sums = passes.gradient_sums(x, dy, mask, mean, masked);
    const int64_t channels = weight.numel();
    const at::Tensor dweight =
        sums.narrow(0, channels, channels).to(at::kFloat).mul_(inverse_deviation);
    const at::Tensor dbias = sums.narrow(0, 0, channels).to(at::kFloat);
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      if (exchange) exchange->sum(sums);  // dweight and dbias stay this rank's own
      const BatchNormMask rest =
          masked.defined() ? BatchNormMask{.scale = mask.scale, .offset = mask.offset} : mask;
      dx = passes.input_gradient(
          x, masked.defined() ? masked : dy, rest, sums, weight, mean, inverse_deviation, saved[7]);
    }
    const at::Tensor dresidual = !has_residual ? at::Tensor() : masked.defined() ? masked : dy;
    return {dx, dweight, dbias, dresidual, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

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

BatchNormResult batch_norm_train(const at::Tensor& x,
                                 const at::Tensor& weight,
                                 const at::Tensor& bias,
                                 double epsilon,
                                 const at::Tensor& residual,
                                 bool relu,
                                 StatisticsExchange* exchange) {
  LOCKSTEP_CHECK(x.dim() >= 2 && x.size(1) == weight.numel(),
                 "batch norm over {} channels got {} dimensions",
                 weight.numel(),
                 x.dim());
  Learned learned;
  BatchNormResult result;
  result.y = FusedBatchNorm::apply(x,
                                   weight,
                                   bias,
                                   residual.defined() ? std::optional(residual) : std::nullopt,
                                   epsilon,
                                   relu,
                                   exchange,
                                   &learned);
  result.mean = learned.mean;
  result.unbiased_variance = learned.unbiased_variance;
  result.has_variance = learned.has_variance;
  return result;
}

at::Tensor batch_norm_eval(const at::Tensor& x,
                           const at::Tensor& weight,
                           const at::Tensor& bias,
                           const at::Tensor& running_mean,
                           const at::Tensor& running_variance,
                           double epsilon,
                           const at::Tensor& residual,
                           bool relu) {
  const bool differentiable =
      at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() ||
                                     (residual.defined() && residual.requires_grad()));
  if (differentiable || x.numel() == 0) {
    return composed_eval(x, weight, bias, running_mean, running_variance, epsilon, residual, relu);
  }
  const at::Tensor scale = weight * (running_variance + epsilon).rsqrt();
  const at::Tensor offset = bias - running_mean * scale;
  const at::MemoryFormat format = layout_of(x);
  return batch_norm_passes(x.device())
      .apply(in_layout(x, format), scale, offset, in_layout(residual, format), relu);
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
                              const at::Tensor& residual) {
  if (!context.training || frozen_) {
    return batch_norm_eval(x, weight, bias, running_mean, running_var, epsilon_, residual, relu);
  }
  BatchNormResult result =
      batch_norm_train(x, weight, bias, epsilon_, residual, relu, context.statistics_exchange);
  const at::NoGradGuard no_grad;
  const auto images = static_cast<double>(x.size(0));
  if (contribution_.mean_sum.defined()) {
    if (x.size(0) > 0) {
      contribution_.mean_sum.add_(result.mean, images);
      contribution_.mean_images.add_(images);
      contribution_.variance_sum.add_(result.unbiased_variance, images);  // 0 without a variance
      contribution_.variance_images.add_(result.has_variance, images);
    }
  } else {
    running_mean.lerp_(result.mean, momentum_);
    running_var.add_((result.unbiased_variance - running_var) * result.has_variance, momentum_);
    num_batches_tracked.add_(1);
  }
  return result.y;
}

}  // namespace lockstep
