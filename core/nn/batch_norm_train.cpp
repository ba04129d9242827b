// Training mode: the autograd function over the passes.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/custom_function.h>

#include <bit>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/batch_norm_passes.h"
#include "lockstep/core/nn/second_derivative.h"

namespace lockstep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The channels of a part.
struct Part {
  int64_t begin = 0, channels = 0;

  // Of a tensor with all channels in its dimension `dim`, without a copy.
  at::Tensor of(const at::Tensor& tensor, int64_t dim = 1) const {
    return tensor.size(dim) == channels ? tensor : tensor.narrow(dim, begin, channels);
  }
};

// What autograd does not follow.
struct Task {
  double epsilon = 0;
  bool relu = false;
  StatisticsExchange* exchange = nullptr;
  ImageGroups groups;
  const std::vector<BatchNormPart>& parts;
  BatchNormStatistics statistics;  // learned on the way
};

// Slices of channels exist in channels-last tensors only: with several parts, or with an `into`, x
// is brought into that layout.
at::MemoryFormat layout_for(const at::Tensor& x, const std::vector<BatchNormPart>& parts) {
  return parts.size() > 1 || parts[0].into.defined() ? at::MemoryFormat::ChannelsLast
                                                     : layout_of(x);
}

std::vector<int64_t> channels_of(const std::vector<BatchNormPart>& parts) {
  std::vector<int64_t> channels;
  for (const BatchNormPart& part : parts) channels.push_back(part.channels);
  return channels;
}

std::vector<Part> parts_of(const std::vector<int64_t>& channels) {
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const int64_t count : channels) {
    parts.push_back({begin, count});
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

    const BatchNormBatch batch{x, weight, bias, task->epsilon, task->groups, task->parts};
    BatchNormStatistics& statistics = task->statistics;
    statistics = new_statistics(task->groups, weight);
    if (task->exchange) {
      passes.moments(batch, statistics);
      task->exchange->sum(statistics.moments);
      passes.coefficients(batch, statistics);
    } else {
      passes.statistics(batch, statistics);
    }
    variable_list y;
    const std::vector<int64_t> channels = channels_of(task->parts);
    const std::vector<Part> parts = parts_of(channels);
    for (size_t i = 0; i < parts.size(); ++i) {
      const at::Tensor& into = task->parts[i].into;
      const at::Tensor made = passes.apply({.x = parts[i].of(x),
                                            .groups = task->groups,
                                            .scale = parts[i].of(statistics.scale),
                                            .offset = parts[i].of(statistics.offset),
                                            .residual = residual,
                                            .relu = task->relu,
                                            .into = into});
      y.push_back(into.defined() ? unrelated(made) : made);
    }

    // Without a residual the ReLU's mask is recomputed from x; with one, y is needed.
    const bool keep_y = task->relu && residual.defined();
    context->save_for_backward({x,
                                weight,
                                statistics.mean,
                                statistics.inverse_deviation,
                                statistics.scale,
                                statistics.offset,
                                keep_y ? y[0] : at::Tensor(),
                                statistics.moments.select(1, 2 * weight.numel())});
    context->saved_data["relu"] = task->relu;
    context->saved_data["has_residual"] = residual.defined();
    context->saved_data["exchange"] = std::bit_cast<int64_t>(task->exchange);
    context->saved_data["channels"] = channels;
    const ImageGroups& groups = task->groups;
    context->saved_data["groups"] =
        std::vector<int64_t>{groups.images, groups.of, groups.first, groups.count};
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    refuse_second_derivative("batch_norm");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[6];
    const bool relu = context->saved_data["relu"].toBool();
    const bool has_residual = context->saved_data["has_residual"].toBool();
    auto* exchange = std::bit_cast<StatisticsExchange*>(context->saved_data["exchange"].toInt());
    const auto parts = parts_of(context->saved_data["channels"].toIntVector());
    const auto of = context->saved_data["groups"].toIntVector();
    const ImageGroups groups{.images = of[0], .of = of[1], .first = of[2], .count = of[3]};
    // The masked gradient of part i's y.
    const auto gradient_of = [&](size_t i, const at::Tensor& dy) {
      return BatchNormGradient{.x = parts[i].of(x),
                               .dy = dy,
                               .relu = relu,
                               .scale = parts[i].of(saved[4]),
                               .offset = parts[i].of(saved[5]),
                               .y = y};
    };
    auto& passes = batch_norm_passes(x.device());

    const BatchNormBackward all = new_backward(groups, saved[7], saved[1], saved[2], saved[3]);
    const auto part_of = [&](const Part& part) {
      return parts.size() == 1 ? all : all.of_channels(part.begin, part.channels);
    };
    const at::Tensor masked = y.defined() ? at::empty_like(x) : at::Tensor();
    variable_list dy;
    for (const at::Tensor& gradient : gradients)
      dy.push_back(gradient_beside(x, gradient, masked.defined()));
    const bool wants_dx = context->needs_input_grad(0);
    if (parts.size() == 1 && wants_dx && !exchange) {
      passes.gradients(gradient_of(0, dy[0]), all, masked);
    } else {
      for (size_t i = 0; i < parts.size(); ++i)
        passes.gradient_sums(gradient_of(i, dy[i]), part_of(parts[i]), masked);
      at::Tensor sums = all.sums;
      if (wants_dx && exchange) exchange->sum(sums);  // dweight and dbias stay this rank's own
      if (wants_dx) passes.slopes(all);
    }
    at::Tensor dx;
    if (wants_dx) {
      if (parts.size() > 1) dx = at::empty_like(x);
      for (size_t i = 0; i < parts.size(); ++i) {
        BatchNormGradient gradient = gradient_of(i, masked.defined() ? masked : dy[i]);
        gradient.relu = relu && !masked.defined();
        gradient.y.reset();
        const at::Tensor made =
            passes.input_gradient(gradient, part_of(parts[i]), dx.defined() ? parts[i].of(dx) : dx);
        if (!dx.defined()) dx = made;
      }
    }
    const at::Tensor dresidual = !has_residual ? at::Tensor() : masked.defined() ? masked : dy[0];
    return {dx, all.dweight, all.dbias, dresidual, at::Tensor()};
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
  const std::vector<BatchNormPart> given =
      parts.empty() ? std::vector<BatchNormPart>{{.channels = channels}} : parts;
  int64_t channels_of_parts = 0;
  for (const BatchNormPart& part : given) channels_of_parts += part.channels;
  LOCKSTEP_CHECK(channels_of_parts == channels, "the parts of a batch norm are all its channels");
  LOCKSTEP_CHECK((given.size() == 1 && !given[0].into.defined()) ||
                     (in.x.is_cpu() && in.x.dim() == 4 && !in.residual.defined()),
                 "parts of a batch norm are those of images on a CPU, without a residual");
  Task task{.epsilon = in.epsilon,
            .relu = in.relu,
            .exchange = exchange,
            .groups = in.groups.value_or(ImageGroups{.images = in.x.size(0)}),
            .parts = given,
            .statistics = {}};
  LOCKSTEP_CHECK(!exchange || task.groups.count == 1, "an exchange takes one group");
  BatchNormResult result;
  result.y =
      FusedBatchNorm::apply(in.x,
                            in.weight,
                            in.bias,
                            in.residual.defined() ? std::optional(in.residual) : std::nullopt,
                            &task);
  result.mean = task.statistics.mean;
  result.unbiased_variance = task.statistics.unbiased_variance;
  result.has_variance = task.statistics.has_variance;
  return result;
}

}  // namespace lockstep
