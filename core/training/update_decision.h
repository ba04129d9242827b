// Whether an update happens and by what its gradient is divided, decided where the sums lie: on a
// GPU without the host.
#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep {

class UpdateDecision {
 public:
  // The mean gradient is clipped to this L2 norm; 0: it is not.
  UpdateDecision(at::Device device, double clip_gradient_norm);

  // Decides over the next update from sums over the global batch, all [] float32 on the device:
  // loss, images, and the L2 norm of the gradient. A loss or a norm that is NaN or infinite skips
  // this update and those after it, until `forgive` is not 0: the host learns of it when later
  // updates are under way already, and these must not change what it then finds.
  void decide(const at::Tensor& loss,
              const at::Tensor& images,
              const at::Tensor& norm,
              const at::Tensor& forgive);

  // For the update: what its gradient, still a sum, is divided by, and 1 where it must change
  // nothing, else 0. [] float32, always the same tensors.
  const at::Tensor& gradient_divisor() const { return gradient_divisor_; }
  const at::Tensor& skip() const { return skip_; }

 private:
  double clip_gradient_norm_;
  at::Tensor gradient_divisor_, skip_;
};

}  // namespace lockstep
