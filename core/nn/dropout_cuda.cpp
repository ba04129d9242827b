#include "lockstep/core/nn/dropout_cuda.h"

#include <ATen/ops/empty.h>

#include "lockstep/core/kernels/dropout_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"

namespace lockstep {

at::Tensor random_mask_cuda(at::IntArrayRef sizes,
                            const at::TensorOptions& options,
                            const MaskDraws& draws,
                            const at::Tensor& step) {
  // Other types are converted, exactly: a mask holds 0 and 1.
  const bool bf16 = c10::typeMetaToScalarType(options.dtype()) == at::kBFloat16;
  at::Tensor mask = at::empty(
      sizes,
      options.dtype(bf16 ? at::kBFloat16 : at::kFloat).memory_format(at::MemoryFormat::Contiguous));
  launch_kernel(mask.device(), [&](void* stream) {
    kernels::cuda::random_mask(draws,
                               step.defined() ? step.const_data_ptr<int>() : nullptr,
                               bf16,
                               mask.mutable_data_ptr(),
                               stream);
  });
  return mask.to(options);
}

}  // namespace lockstep
