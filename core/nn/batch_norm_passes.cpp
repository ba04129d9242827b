#include "lockstep/core/nn/batch_norm_passes.h"

#include <ATen/ops/empty.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

kernels::GradientInput gradient_input(const BatchNormGradient& gradient) {
  return {.x = gradient.x.const_data_ptr(),
          .dy = gradient.dy.const_data_ptr(),
          .y = data_or_null(gradient.y),
          .relu = gradient.relu,
          .affine = {floats(gradient.scale), floats(gradient.offset)}};
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

kernels::Activation activation_of(const at::Tensor& x, const at::Tensor& y) {
  LOCKSTEP_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16,
                 "batch norm takes float32 and bfloat16");
  LOCKSTEP_CHECK(
      y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type() && y.device() == x.device(),
      "batch norm got unlike activations");
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
  return shape;
}

kernels::ForwardMap forward_map(const BatchNormForward& forward, const at::Tensor& y) {
  return {.x = forward.x.const_data_ptr(),
          .residual = data_or_null(forward.residual),
          .relu = forward.relu,
          .affine = {floats(forward.scale), floats(forward.offset)},
          .y = y.mutable_data_ptr()};
}

kernels::GradientTerms gradient_terms(const BatchNormGradient& gradient,
                                      const at::Tensor& mean,
                                      const at::Tensor& masked) {
  LOCKSTEP_CHECK(masked.defined() == gradient.y.defined(),
                 "batch norm writes the masked gradient where y masks it");
  return {.in = gradient_input(gradient),
          .mean = floats(mean),
          .masked = masked.defined() ? masked.mutable_data_ptr() : nullptr};
}

kernels::SlopesOfSums slopes_of(const BatchNormBackward& backward, const at::Tensor& slopes) {
  return {.channels = backward.weight.numel(),
          .sums = backward.sums.const_data_ptr<double>(),
          .count = backward.count.const_data_ptr<double>(),
          .weight = floats(backward.weight),
          .mean = floats(backward.mean),
          .inverse_deviation = floats(backward.inverse_deviation),
          .slopes = slopes.mutable_data_ptr<float>()};
}

kernels::BackwardMap backward_map(const BatchNormBackward& backward,
                                  const at::Tensor& slopes,
                                  const at::Tensor& dx) {
  LOCKSTEP_CHECK(!backward.gradient.y.defined(), "batch norm's dx takes an unmasked gradient");
  return {.in = gradient_input(backward.gradient),
          .slopes = floats(slopes),
          .dx = dx.mutable_data_ptr()};
}

PreparedCoefficients prepare_coefficients(const at::Tensor& moments,
                                          const at::Tensor& weight,
                                          const at::Tensor& bias,
                                          double epsilon) {
  const auto made = [&](int64_t size) {
    return at::empty({size}, weight.options().requires_grad(false));
  };
  const int64_t channels = weight.numel();
  const BatchNormCoefficients result{.mean = made(channels),
                                     .inverse_deviation = made(channels),
                                     .unbiased_variance = made(channels),
                                     .scale = made(channels),
                                     .offset = made(channels),
                                     .has_variance = made(1)};
  const auto written = [](const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); };
  return {.result = result,
          .formula = {.channels = channels,
                      .moments = moments.const_data_ptr<double>(),
                      .weight = floats(weight),
                      .bias = floats(bias),
                      .epsilon = epsilon,
                      .mean = written(result.mean),
                      .inverse_deviation = written(result.inverse_deviation),
                      .unbiased_variance = written(result.unbiased_variance),
                      .scale = written(result.scale),
                      .offset = written(result.offset),
                      .has_variance = written(result.has_variance)}};
}

BatchNormPasses& batch_norm_passes(at::Device device) {
#ifdef LOCKSTEP_WITH_CUDA
  if (device.is_cuda()) return batch_norm_passes_cuda();
#endif
  LOCKSTEP_CHECK(device.is_cpu(), "no batch norm for this kind of device in this build");
  return batch_norm_passes_cpu();
}

}  // namespace lockstep
