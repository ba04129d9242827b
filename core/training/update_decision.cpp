#include "lockstep/core/training/update_decision.h"

#include <ATen/ops/zeros.h>
#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/kernels/update_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"
#endif

#include "lockstep/core/kernels/update_formulas.h"

namespace lockstep {

UpdateDecision::UpdateDecision(at::Device device, double clip_gradient_norm)
    : clip_gradient_norm_(clip_gradient_norm) {
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  gradient_divisor_ = at::zeros({}, options);
  skip_ = at::zeros({}, options);
}

void UpdateDecision::decide(const at::Tensor& loss,
                            const at::Tensor& images,
                            const at::Tensor& norm,
                            const at::Tensor& forgive) {
  const kernels::DecideUpdate decision{.loss = loss.const_data_ptr<float>(),
                                       .images = images.const_data_ptr<float>(),
                                       .norm = norm.const_data_ptr<float>(),
                                       .forgive = forgive.const_data_ptr<float>(),
                                       .clip_norm = clip_gradient_norm_,
                                       .divisor = gradient_divisor_.mutable_data_ptr<float>(),
                                       .skip = skip_.mutable_data_ptr<float>()};
#ifdef LOCKSTEP_WITH_CUDA
  if (skip_.is_cuda()) {
    launch_kernel(skip_.device(),
                  [&](void* stream) { kernels::cuda::decide_update(decision, stream); });
    return;
  }
#endif
  decision.write();
}

}  // namespace lockstep
