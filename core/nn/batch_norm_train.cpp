// Training mode: the autograd function over the passes.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/batch_norm_passes.h"
#include "lockstep/core/nn/second_derivative.h"

namespace lockstep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Channels that get a y of their own.
struct Part {
  int64_t begin = 0, channels = 0;
  at::Tensor into;  // where y goes; undefined: to a new tensor

  int64_t end() const { return begin + channels; }
  // These channels, without a copy.
  at::Tensor of(const at::Tensor& tensor, int64_t dim = 0) const {
    return tensor.size(dim) == channels ? tensor : tensor.narrow(dim, begin, channels);
  }
  // Of sums [2C], two rows of C behind one another: these channels of both, [2 * channels].
  at::Tensor of_both(const at::Tensor& sums) const {
    return 2 * channels == sums.numel() ? sums : of(sums.view({2, -1}), 1).flatten();
  }
};

// What autograd does not follow.
struct Task {
  double epsilon = 0;
  bool relu = false;
  StatisticsExchange* exchange = nullptr;
  std::vector<Part> parts;
  // Learned on the way:
  at::Tensor mean, unbiased_variance, has_variance;
};

// Slices of channels exist in channels-last tensors only: with several parts, or with an `into`, x
// is brought into that layout.
at::MemoryFormat layout_for(const at::Tensor& x, const std::vector<Part>& parts) {
  return parts.size() > 1 || parts[0].into.defined() ? at::MemoryFormat::ChannelsLast
                                                     : layout_of(x);
}

std::vector<int64_t> channels_of(const std::vector<Part>& parts) {
  std::vector<int64_t> channels;
  for (const Part& part : parts) channels.push_back(part.channels);
  return channels;
}

std::vector<Part> parts_of(const std::vector<int64_t>& channels) {
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const int64_t count : channels) {
    parts.push_back({begin, count, {}});
    begin += count;
  }
  return parts;
}

// `dy` as the passes take it beside `x`.
at::Tensor gradient_beside(const at::Tensor& x, const at::Tensor& dy, bool dense) {
  const at::Tensor typed = dy.to(x.scalar_type());
  const at::MemoryFormat format = layout_of(x);
  const bool slices = x.is_cpu() && format == at::MemoryFormat::ChannelsLast && !dense;
  return slices && row_stride(typed) ? typed : typed.contiguous(format);
}

// A tensor over the same memory, which it keeps alive, that autograd does not take for a view: what
// is written to its neighbours in a larger tensor does not concern it. Its version is its own too:
// autograd does not notice changes to the larger tensor.
at::Tensor unrelated(const at::Tensor& slice) {
  return at::from_blob(
      slice.mutable_data_ptr(), slice.sizes(), slice.strides(), [slice](void*) {}, slice.options());
}

struct FusedBatchNorm : public torch::autograd::Function<FusedBatchNorm> {
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& x_in,
                               const at::Tensor& weight,
                               const at::Tensor& bias,
                               const std::optional<at::Tensor>& residual_in,
                               Task* task) {
    const at::MemoryFormat format = layout_for(x_in, task->parts);
    const at::Tensor x = in_layout(x_in, format);
    const at::Tensor residual = residual_in ? in_layout(*residual_in, format) : at::Tensor();
    auto& passes = batch_norm_passes(x.device());

    at::Tensor moments = passes.moments(x);  // [2C + 1] float64: Σx, Σx², count
    if (task->exchange) task->exchange->sum(moments);
    const auto coefficients = passes.coefficients(moments, weight, bias, task->epsilon);
    variable_list y;
    for (const Part& part : task->parts) {
      const at::Tensor made = passes.apply({.x = part.of(x, 1),
                                            .scale = part.of(coefficients.scale),
                                            .offset = part.of(coefficients.offset),
                                            .residual = residual,
                                            .relu = task->relu,
                                            .into = part.into});
      y.push_back(part.into.defined() ? unrelated(made) : made);
    }

    task->mean = coefficients.mean;
    task->unbiased_variance = coefficients.unbiased_variance;
    task->has_variance = coefficients.has_variance;
    // Without a residual the ReLU's mask is recomputed from x; with one, y is needed.
    const bool keep_y = task->relu && residual.defined();
    context->save_for_backward({x,
                                weight,
                                coefficients.mean,
                                coefficients.inverse_deviation,
                                coefficients.scale,
                                coefficients.offset,
                                keep_y ? y[0] : at::Tensor(),
                                moments.narrow(0, 2 * weight.numel(), 1)});
    context->saved_data["relu"] = task->relu;
    context->saved_data["has_residual"] = residual.defined();
    context->saved_data["exchange"] = reinterpret_cast<int64_t>(task->exchange);
    context->saved_data["channels"] = channels_of(task->parts);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    refuse_second_derivative("batch_norm");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2],
                     &inverse_deviation = saved[3], &y = saved[6];
    const bool relu = context->saved_data["relu"].toBool();
    const bool has_residual = context->saved_data["has_residual"].toBool();
    auto* exchange = reinterpret_cast<StatisticsExchange*>(context->saved_data["exchange"].toInt());
    const auto parts = parts_of(context->saved_data["channels"].toIntVector());
    // The masked gradient of part i's y.
    const auto gradient_of = [&](size_t i, const at::Tensor& dy) {
      return BatchNormGradient{.x = parts[i].of(x, 1),
                               .dy = dy,
                               .relu = relu,
                               .scale = parts[i].of(saved[4]),
                               .offset = parts[i].of(saved[5]),
                               .y = y};
    };
    auto& passes = batch_norm_passes(x.device());

    // sums: [2C] float64: Σg, Σg (x - mean), g being dy where the ReLU was open.
    at::Tensor masked = y.defined() ? at::empty_like(x) : at::Tensor();
    variable_list dy;
    std::vector<at::Tensor> sums_of_parts;
    for (size_t i = 0; i < parts.size(); ++i) {
      dy.push_back(gradient_beside(x, gradients[i], masked.defined()));
      sums_of_parts.push_back(
          passes.gradient_sums(gradient_of(i, dy[i]), parts[i].of(mean), masked).view({2, -1}));
    }
    at::Tensor sums =
        parts.size() == 1 ? sums_of_parts[0].flatten() : at::cat(sums_of_parts, 1).flatten();
    const int64_t channels = weight.numel();
    const at::Tensor dweight =
        sums.narrow(0, channels, channels).to(at::kFloat).mul_(inverse_deviation);
    const at::Tensor dbias = sums.narrow(0, 0, channels).to(at::kFloat);
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      if (exchange) exchange->sum(sums);  // dweight and dbias stay this rank's own
      if (parts.size() > 1) dx = at::empty_like(x);
      for (size_t i = 0; i < parts.size(); ++i) {
        const Part& part = parts[i];
        BatchNormGradient gradient = gradient_of(i, masked.defined() ? masked : dy[i]);
        gradient.relu = relu && !masked.defined();
        gradient.y.reset();
        const at::Tensor made =
            passes.input_gradient({.gradient = gradient,
                                   .sums = part.of_both(sums),
                                   .count = saved[7],
                                   .weight = part.of(weight),
                                   .mean = part.of(mean),
                                   .inverse_deviation = part.of(inverse_deviation),
                                   .into = dx.defined() ? part.of(dx, 1) : dx});
        if (!dx.defined()) dx = made;
      }
    }
    const at::Tensor dresidual = !has_residual ? at::Tensor() : masked.defined() ? masked : dy[0];
    return {dx, dweight, dbias, dresidual, at::Tensor()};
  }
};

}  // namespace

BatchNormResult batch_norm_train(const BatchNormInput& in,
                                 StatisticsExchange* exchange,
                                 const std::vector<BatchNormPart>& parts) {
  const int64_t channels = in.weight.numel();
  LOCKSTEP_CHECK(in.x.dim() >= 2 && in.x.size(1) == channels,
                 "batch norm over {} channels got {} dimensions",
                 channels,
                 in.x.dim());
  Task task{.epsilon = in.epsilon, .relu = in.relu, .exchange = exchange};
  if (parts.empty()) task.parts = {Part{.channels = channels}};
  for (const BatchNormPart& part : parts) {
    const int64_t begin = task.parts.empty() ? 0 : task.parts.back().end();
    task.parts.push_back({begin, part.channels, part.into});
  }
  LOCKSTEP_CHECK(parts.empty() || (in.x.is_cpu() && in.x.dim() == 4 && !in.residual.defined() &&
                                   task.parts.back().end() == channels),
                 "parts of a batch norm are those of images on a CPU, without a residual");
  BatchNormResult result;
  result.y =
      FusedBatchNorm::apply(in.x,
                            in.weight,
                            in.bias,
                            in.residual.defined() ? std::optional(in.residual) : std::nullopt,
                            &task);
  result.mean = task.mean;
  result.unbiased_variance = task.unbiased_variance;
  result.has_variance = task.has_variance;
  return result;
}

}  // namespace lockstep
