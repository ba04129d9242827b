#include "lockstep/core/nn/batch_norm_passes.h"

#include "lockstep/core/base/error.h"

namespace lockstep {

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

BatchNormPasses& batch_norm_passes(at::Device device) {
#ifdef LOCKSTEP_WITH_CUDA
  if (device.is_cuda()) return batch_norm_passes_cuda();
#endif
  LOCKSTEP_CHECK(device.is_cpu(), "no batch norm for this kind of device in this build");
  return batch_norm_passes_cpu();
}

}  // namespace lockstep
