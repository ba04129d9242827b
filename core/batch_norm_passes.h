// The passes of fused batch normalisation on one kind of device. Tensors x, y, dy, residual: one
// dtype (float32 or bfloat16), one layout (contiguous, or channels-last for all); per-channel
// tensors [C] float32 unless said otherwise.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/batch_norm_kernels.h"

namespace lockstep {

struct BatchNormCoefficients {
  at::Tensor mean, inverse_deviation;  // of what was normalised together
  at::Tensor unbiased_variance;
  at::Tensor scale, offset;  // y = x * scale + offset
  at::Tensor has_variance;   // [1]: 1 if there was more than one value per channel, else 0
};

// Where the ReLU was open: y > 0, of `y` if defined, else of x * scale + offset. Without relu
// everywhere.
struct BatchNormMask {
  bool relu = false;
  at::Tensor scale, offset;
  at::Tensor y;
};

class BatchNormPasses {
 public:
  virtual ~BatchNormPasses() = default;
  // [2C + 1] float64: Σx, Σx², values per channel. In float64 so that sums of different ranks add
  // without cancelling for large means.
  virtual at::Tensor moments(const at::Tensor& x) = 0;
  virtual BatchNormCoefficients coefficients(const at::Tensor& moments,
                                             const at::Tensor& weight,
                                             const at::Tensor& bias,
                                             double epsilon) = 0;
  virtual at::Tensor apply(const at::Tensor& x,
                           const at::Tensor& scale,
                           const at::Tensor& offset,
                           const at::Tensor& residual,
                           bool relu) = 0;
  // [2C] float64: Σg, Σg (x - mean) for the masked gradient g, which is written to `masked` where
  // that is defined.
  virtual at::Tensor gradient_sums(const at::Tensor& x,
                                   const at::Tensor& dy,
                                   const BatchNormMask& mask,
                                   const at::Tensor& mean,
                                   const at::Tensor& masked) = 0;
  // `count`: values per channel, [1] float64 (the last of the moments): on the device, so that
  // nothing waits for it. dx = weight / σ (g - Σg / n - (x - mean) Σg (x - mean) / (n σ²))
  virtual at::Tensor input_gradient(const at::Tensor& x,
                                    const at::Tensor& dy,
                                    const BatchNormMask& mask,
                                    const at::Tensor& sums,
                                    const at::Tensor& weight,
                                    const at::Tensor& mean,
                                    const at::Tensor& inverse_deviation,
                                    const at::Tensor& count) = 0;
};

// The kernels' view of [N, C, …] `x`. Throws Error(kInternal) for other dtypes.
kernels::Activation activation_of(const at::Tensor& x);

BatchNormPasses& batch_norm_passes(at::Device device);
BatchNormPasses& batch_norm_passes_cpu();
BatchNormPasses& batch_norm_passes_cuda();

}  // namespace lockstep
