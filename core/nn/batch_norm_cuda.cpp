// The passes on a CUDA device, on the current stream; nothing here waits for the device.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

namespace device = kernels::cuda;

const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}
void* current_stream(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

at::Tensor scratch_for(const kernels::Activation& shape, const at::Tensor& x) {
  return at::empty({device::scratch_floats(shape)}, x.options().dtype(at::kFloat));
}

class CudaPasses final : public BatchNormPasses {
 public:
  at::Tensor moments(const at::Tensor& x) override {
    const c10::cuda::CUDAGuard guard(x.device());
    const auto shape = activation_of(x);
    at::Tensor moments = at::empty({2 * shape.channels + 1}, x.options().dtype(at::kDouble));
    at::Tensor scratch = scratch_for(shape, x);
    device::moments(shape,
                    x.const_data_ptr(),
                    scratch.mutable_data_ptr<float>(),
                    moments.mutable_data_ptr<double>(),
                    current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return moments;
  }

  BatchNormCoefficients coefficients(const at::Tensor& moments,
                                     const at::Tensor& weight,
                                     const at::Tensor& bias,
                                     double epsilon) override {
    const c10::cuda::CUDAGuard guard(weight.device());
    BatchNormCoefficients result;
    for (at::Tensor* tensor : {&result.mean,
                               &result.inverse_deviation,
                               &result.unbiased_variance,
                               &result.scale,
                               &result.offset}) {
      *tensor = at::empty({weight.numel()}, weight.options().requires_grad(false));
    }
    result.has_variance = at::empty({1}, result.mean.options());
    device::coefficients(weight.numel(),
                         moments.const_data_ptr<double>(),
                         floats(weight),
                         floats(bias),
                         epsilon,
                         {.mean = result.mean.mutable_data_ptr<float>(),
                          .inverse_deviation = result.inverse_deviation.mutable_data_ptr<float>(),
                          .unbiased_variance = result.unbiased_variance.mutable_data_ptr<float>(),
                          .scale = result.scale.mutable_data_ptr<float>(),
                          .offset = result.offset.mutable_data_ptr<float>(),
                          .has_variance = result.has_variance.mutable_data_ptr<float>()},
                         current_stream(weight));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return result;
  }

  at::Tensor apply(const at::Tensor& x,
                   const at::Tensor& scale,
                   const at::Tensor& offset,
                   const at::Tensor& residual,
                   bool relu,
                   const at::Tensor& into) override {
    LOCKSTEP_CHECK(!into.defined(), "slices of tensors have no CUDA kernel");
    const c10::cuda::CUDAGuard guard(x.device());
    at::Tensor y = at::empty_like(x);
    device::apply(activation_of(x),
                  x.const_data_ptr(),
                  data_or_null(residual),
                  relu,
                  {floats(scale), floats(offset)},
                  y.mutable_data_ptr(),
                  current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  at::Tensor gradient_sums(const at::Tensor& x,
                           const at::Tensor& dy,
                           const BatchNormMask& mask,
                           const at::Tensor& mean,
                           const at::Tensor& masked) override {
    const c10::cuda::CUDAGuard guard(x.device());
    const auto shape = activation_of(x);
    at::Tensor sums = at::empty({2 * shape.channels}, x.options().dtype(at::kDouble));
    at::Tensor scratch = scratch_for(shape, x);
    device::gradient_sums(shape,
                          x.const_data_ptr(),
                          dy.const_data_ptr(),
                          data_or_null(mask.y),
                          mask.relu,
                          {floats(mask.scale), floats(mask.offset)},
                          floats(mean),
                          masked.defined() ? masked.mutable_data_ptr() : nullptr,
                          scratch.mutable_data_ptr<float>(),
                          sums.mutable_data_ptr<double>(),
                          current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return sums;
  }

  at::Tensor input_gradient(const at::Tensor& x,
                            const at::Tensor& dy,
                            const BatchNormMask& mask,
                            const at::Tensor& sums,
                            const at::Tensor& weight,
                            const at::Tensor& mean,
                            const at::Tensor& inverse_deviation,
                            const at::Tensor& count,
                            const at::Tensor& into) override {
    LOCKSTEP_CHECK(!into.defined(), "slices of tensors have no CUDA kernel");
    const c10::cuda::CUDAGuard guard(x.device());
    at::Tensor dx = at::empty_like(x);
    at::Tensor slopes = at::empty({3 * weight.numel()}, x.options().dtype(at::kFloat));
    device::input_gradient(activation_of(x),
                           x.const_data_ptr(),
                           dy.const_data_ptr(),
                           mask.relu,
                           {floats(mask.scale), floats(mask.offset)},
                           sums.const_data_ptr<double>(),
                           count.const_data_ptr<double>(),
                           floats(weight),
                           floats(mean),
                           floats(inverse_deviation),
                           slopes.mutable_data_ptr<float>(),
                           dx.mutable_data_ptr(),
                           current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return dx;
  }
};

}  // namespace

BatchNormPasses& batch_norm_passes_cuda() {
  static CudaPasses passes;
  return passes;
}

}  // namespace lockstep
