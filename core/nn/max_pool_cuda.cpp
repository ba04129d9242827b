#include "lockstep/core/nn/max_pool_cuda.h"

#include "lockstep/core/kernels/max_pool_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"

namespace lockstep {

void max_pool_cuda(const kernels::MaxPoolShape& shape,
                   const at::Tensor& x,
                   const at::Tensor& y,
                   const at::Tensor& taps) {
  launch_kernel(x.device(), [&](void* stream) {
    kernels::cuda::max_pool(shape,
                            x.size(0),
                            x.const_data_ptr(),
                            y.mutable_data_ptr(),
                            taps.mutable_data_ptr<uint8_t>(),
                            stream);
  });
}

void max_pool_gradient_cuda(const kernels::MaxPoolShape& shape,
                            const at::Tensor& dy,
                            const at::Tensor& taps,
                            const at::Tensor& base,
                            const at::Tensor& dx) {
  launch_kernel(dx.device(), [&](void* stream) {
    kernels::cuda::max_pool_gradient(shape,
                                     dx.size(0),
                                     dy.const_data_ptr(),
                                     taps.const_data_ptr<uint8_t>(),
                                     base.defined() ? base.const_data_ptr() : nullptr,
                                     dx.mutable_data_ptr(),
                                     stream);
  });
}

}  // namespace lockstep
