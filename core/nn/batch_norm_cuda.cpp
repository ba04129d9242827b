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
    const PreparedCoefficients prepared = prepare_coefficients(moments, weight, bias, epsilon);
    device::coefficients(prepared.formula, current_stream(weight));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return prepared.result;
  }

  at::Tensor apply(const BatchNormForward& forward) override {
    LOCKSTEP_CHECK(!forward.into.defined(), "slices of tensors have no CUDA kernel");
    const c10::cuda::CUDAGuard guard(forward.x.device());
    at::Tensor y = at::empty_like(forward.x);
    device::apply(activation_of(forward.x), forward_map(forward, y), current_stream(y));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  at::Tensor gradient_sums(const BatchNormGradient& gradient,
                           const at::Tensor& mean,
                           const at::Tensor& masked) override {
    const at::Tensor& x = gradient.x;
    const c10::cuda::CUDAGuard guard(x.device());
    const auto shape = activation_of(x);
    at::Tensor sums = at::empty({2 * shape.channels}, x.options().dtype(at::kDouble));
    at::Tensor scratch = scratch_for(shape, x);
    device::gradient_sums(shape,
                          gradient_terms(gradient, mean, masked),
                          scratch.mutable_data_ptr<float>(),
                          sums.mutable_data_ptr<double>(),
                          current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return sums;
  }

  at::Tensor input_gradient(const BatchNormBackward& backward) override {
    LOCKSTEP_CHECK(!backward.into.defined(), "slices of tensors have no CUDA kernel");
    const at::Tensor& x = backward.gradient.x;
    const c10::cuda::CUDAGuard guard(x.device());
    at::Tensor dx = at::empty_like(x);
    at::Tensor slopes = at::empty({3 * backward.weight.numel()}, x.options().dtype(at::kFloat));
    device::slopes(slopes_of(backward, slopes), current_stream(x));
    device::input_gradient(activation_of(x), backward_map(backward, slopes, dx), current_stream(x));
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
