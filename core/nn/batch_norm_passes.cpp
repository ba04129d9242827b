#include "lockstep/core/nn/batch_norm_passes.h"

#include <ATen/ops/empty.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

const float* read(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
float* written(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

kernels::GradientInput gradient_input(const BatchNormGradient& gradient) {
  return {.x = gradient.x.const_data_ptr(),
          .dy = gradient.dy.const_data_ptr(),
          .y = data_or_null(gradient.y),
          .relu = gradient.relu,
          .affine = {read(gradient.scale), read(gradient.offset)}};
}

}  // namespace

at::MemoryFormat layout_of(const at::Tensor& x) {
  return x.dim() == 4 ? x.suggest_memory_format() : at::MemoryFormat::Contiguous;
}

at::Tensor in_layout(const at::Tensor& tensor, at::MemoryFormat format) {
  return tensor.defined() ? tensor.contiguous(format) : tensor;
}

std::optional<int64_t> row_stride(const at::Tensor& x) {
  if (x.numel() == 0) return x.size(1);
  if (x.size(1) > 1 && x.stride(1) != 1) return std::nullopt;
  int64_t stride = 0;  // none seen yet
  int64_t rows = 1;    // between one index of `dim` and the next
  const auto agrees = [&](int64_t dim) {
    if (x.size(dim) == 1) return true;  // such a dimension's stride says nothing
    const int64_t found = x.stride(dim) / rows;
    const bool same =
        found > 0 && (stride == 0 || stride == found) && found * rows == x.stride(dim);
    stride = found;
    rows *= x.size(dim);
    return same;
  };
  for (int64_t dim = x.dim() - 1; dim > 1; --dim) {
    if (!agrees(dim)) return std::nullopt;
  }
  if (!agrees(0)) return std::nullopt;
  if (stride == 0) return x.size(1);  // one place of one image
  return stride < x.size(1) ? std::nullopt : std::optional(stride);
}

kernels::Activation activation_of(const at::Tensor& x,
                                  const at::Tensor& y,
                                  const ImageGroups& groups,
                                  const at::Tensor& per_channel) {
  LOCKSTEP_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16,
                 "batch norm takes float32 and bfloat16");
  LOCKSTEP_CHECK(
      y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type() && y.device() == x.device(),
      "batch norm got unlike activations");
  LOCKSTEP_CHECK(groups.begin(groups.count) == x.size(0),
                 "batch norm got groups of {} images for {}",
                 groups.begin(groups.count),
                 x.size(0));
  kernels::Activation shape;
  shape.n = x.size(0);
  shape.channels = x.size(1);
  shape.spatial = x.dim() > 2 ? c10::multiply_integers(x.sizes().slice(2)) : 1;
  // Images of one place are both; rows of channels vectorise better.
  shape.channels_last = shape.spatial == 1 || !x.is_contiguous() || !y.is_contiguous();
  if (shape.channels_last) {
    const auto x_stride = row_stride(x), y_stride = row_stride(y);
    LOCKSTEP_CHECK(x_stride && y_stride, "batch norm got activations of unlike layouts");
    shape.x_stride = *x_stride;
    shape.y_stride = *y_stride;
  }
  shape.bf16 = x.scalar_type() == at::kBFloat16;
  shape.groups = groups;
  shape.group_stride = per_channel.dim() > 1 ? per_channel.stride(0) : shape.channels;
  return shape;
}

BatchNormStatistics new_statistics(const ImageGroups& groups, const at::Tensor& weight) {
  const int64_t channels = weight.numel();
  const at::TensorOptions options = weight.options().requires_grad(false);
  const auto made = [&] { return at::empty({groups.count, channels}, options); };
  return {.moments = at::empty({groups.count, 2 * channels + 1}, options.dtype(at::kDouble)),
          .mean = made(),
          .inverse_deviation = made(),
          .unbiased_variance = made(),
          .scale = made(),
          .offset = made(),
          .has_variance = at::empty({groups.count}, options)};
}

BatchNormBackward new_backward(const ImageGroups& groups,
                               const at::Tensor& counts,
                               const at::Tensor& weight,
                               const at::Tensor& mean,
                               const at::Tensor& inverse_deviation) {
  const int64_t channels = weight.numel();
  const at::TensorOptions options = weight.options().requires_grad(false);
  return {.groups = groups,
          .counts = counts,
          .weight = weight,
          .mean = mean,
          .inverse_deviation = inverse_deviation,
          .sums = at::empty({groups.count, 2, channels}, options.dtype(at::kDouble)),
          .slopes = at::empty({groups.count, 3, channels}, options),
          .dweight = at::empty({channels}, options),
          .dbias = at::empty({channels}, options)};
}

BatchNormBackward BatchNormBackward::of_channels(int64_t begin, int64_t channels) const {
  const auto part = [&](const at::Tensor& tensor) {
    return tensor.narrow(tensor.dim() - 1, begin, channels);
  };
  return {.groups = groups,
          .counts = counts,
          .weight = part(weight),
          .mean = part(mean),
          .inverse_deviation = part(inverse_deviation),
          .sums = part(sums),
          .slopes = part(slopes),
          .dweight = part(dweight),
          .dbias = part(dbias)};
}

kernels::CoefficientsOfMoments coefficients_of(const BatchNormBatch& batch,
                                               const BatchNormStatistics& statistics) {
  return {.groups = batch.groups,
          .channels = batch.weight.numel(),
          .moments = statistics.moments.mutable_data_ptr<double>(),
          .weight = read(batch.weight),
          .bias = read(batch.bias),
          .epsilon = batch.epsilon,
          .mean = written(statistics.mean),
          .inverse_deviation = written(statistics.inverse_deviation),
          .unbiased_variance = written(statistics.unbiased_variance),
          .scale = written(statistics.scale),
          .offset = written(statistics.offset),
          .has_variance = written(statistics.has_variance)};
}

kernels::StatisticsContribution contribution_of(const BatchNormContribution& contribution) {
  return {.mean_sum = written(contribution.mean_sum),
          .variance_sum = written(contribution.variance_sum),
          .mean_images = written(contribution.mean_images),
          .variance_images = written(contribution.variance_images)};
}

kernels::ForwardMap forward_map(const BatchNormForward& forward, const at::Tensor& y) {
  return {.x = forward.x.const_data_ptr(),
          .residual = data_or_null(forward.residual),
          .relu = forward.relu,
          .affine = {read(forward.scale), read(forward.offset)},
          .y = y.mutable_data_ptr()};
}

kernels::GradientTerms gradient_terms(const BatchNormGradient& gradient,
                                      const at::Tensor& mean,
                                      const at::Tensor& masked) {
  LOCKSTEP_CHECK(masked.defined() == gradient.y.defined(),
                 "batch norm writes the masked gradient where y masks it");
  return {.in = gradient_input(gradient),
          .mean = read(mean),
          .masked = masked.defined() ? masked.mutable_data_ptr() : nullptr};
}

kernels::GradientsOfSums gradients_of(const BatchNormBackward& backward) {
  return {.groups = backward.groups.count,
          .stride = backward.sums.stride(1),
          .sums = backward.sums.mutable_data_ptr<double>(),
          .counts = backward.counts.const_data_ptr<double>(),
          .weight = read(backward.weight),
          .mean = read(backward.mean),
          .inverse_deviation = read(backward.inverse_deviation),
          .slopes = written(backward.slopes),
          .dweight = written(backward.dweight),
          .dbias = written(backward.dbias)};
}

kernels::BackwardMap backward_map(const BatchNormGradient& gradient,
                                  const at::Tensor& slopes,
                                  const at::Tensor& dx) {
  LOCKSTEP_CHECK(!gradient.y.defined(), "batch norm's dx takes an unmasked gradient");
  return {.in = gradient_input(gradient), .slopes = read(slopes), .dx = dx.mutable_data_ptr()};
}

BatchNormPasses& batch_norm_passes(at::Device device) {
#ifdef LOCKSTEP_WITH_CUDA
  if (device.is_cuda()) return batch_norm_passes_cuda();
#endif
  LOCKSTEP_CHECK(device.is_cpu(), "no batch norm for this kind of device in this build");
  return batch_norm_passes_cpu();
}

}  // namespace lockstep
