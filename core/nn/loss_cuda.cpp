#include "lockstep/core/nn/loss_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lockstep/core/kernels/loss_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"
#include "lockstep/core/nn/launch_tickets.h"
#include "lockstep/core/nn/second_derivative.h"

namespace lockstep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

kernels::cuda::Classification task_of(const at::Tensor& logits,
                                      const at::Tensor& labels,
                                      const at::Tensor& second_labels,
                                      const at::Tensor& weights,
                                      double label_smoothing) {
  const bool mixed = second_labels.defined();
  return {.logits = logits.const_data_ptr(),
          .bf16 = logits.scalar_type() == at::kBFloat16,
          .n = logits.size(0),
          .classes = logits.size(1),
          .labels = labels.const_data_ptr<int64_t>(),
          .second_labels = mixed ? second_labels.const_data_ptr<int64_t>() : nullptr,
          .weights = mixed ? weights.const_data_ptr<float>() : nullptr,
          .label_smoothing = label_smoothing};
}

// logits to {loss, correct}, both [] float32; correct has no gradient.
struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& logits,
                               const at::Tensor& labels,
                               const std::optional<at::Tensor>& second_labels,
                               const std::optional<at::Tensor>& weights,
                               double label_smoothing) {
    const auto options = logits.options().dtype(at::kFloat);
    const int64_t n = logits.size(0);
    const at::Tensor of_images = at::empty({3, n}, options);
    at::Tensor loss = at::empty({}, options), correct = at::empty({}, options);
    const at::Tensor ticket = launch_tickets(logits.device(), 1);
    auto* values = of_images.mutable_data_ptr<float>();
    const kernels::cuda::Classification task = task_of(logits,
                                                       labels,
                                                       second_labels.value_or(at::Tensor()),
                                                       weights.value_or(at::Tensor()),
                                                       label_smoothing);
    const kernels::cuda::ClassificationResults results{
        .losses = values,
        .hits = values + n,
        .log_sums = values + 2 * n,
        .loss = loss.mutable_data_ptr<float>(),
        .correct = correct.mutable_data_ptr<float>(),
        .ticket = reinterpret_cast<unsigned*>(ticket.mutable_data_ptr<int>())};
    launch_kernel(logits.device(),
                  [&](void* stream) { kernels::cuda::cross_entropy(task, results, stream); });
    context->save_for_backward({logits,
                                labels,
                                second_labels.value_or(at::Tensor()),
                                weights.value_or(at::Tensor()),
                                of_images[2]});
    context->saved_data["label_smoothing"] = label_smoothing;
    context->mark_non_differentiable({correct});
    return {loss, correct};
  }

  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    refuse_second_derivative("cross entropy");
    const auto saved = context->get_saved_variables();
    const at::Tensor& logits = saved[0];
    at::Tensor gradient = at::empty_like(logits);
    const at::Tensor of_loss = upstream[0].contiguous();
    const double label_smoothing = context->saved_data["label_smoothing"].toDouble();
    launch_kernel(logits.device(), [&](void* stream) {
      kernels::cuda::cross_entropy_gradient(
          task_of(logits, saved[1], saved[2], saved[3], label_smoothing),
          saved[4].const_data_ptr<float>(),
          of_loss.const_data_ptr<float>(),
          gradient.mutable_data_ptr(),
          stream);
    });
    return {gradient, {}, {}, {}, {}};
  }
};

}  // namespace

ClassificationSums cross_entropy_sums_cuda(const at::Tensor& logits,
                                           const at::Tensor& labels,
                                           const at::Tensor& second_labels,
                                           const at::Tensor& weights,
                                           double label_smoothing) {
  const auto optional = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional(tensor.contiguous()) : std::nullopt;
  };
  // The kernels know two types; others are converted, exactly.
  const bool known = logits.scalar_type() == at::kBFloat16 || logits.scalar_type() == at::kFloat;
  const variable_list sums =
      CrossEntropy::apply((known ? logits : logits.to(at::kFloat)).contiguous(),
                          labels.contiguous(),
                          optional(second_labels),
                          optional(weights),
                          label_smoothing);
  return {.loss = sums[0], .correct = sums[1]};
}

}  // namespace lockstep
