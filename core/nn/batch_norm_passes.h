// The passes of fused batch normalisation on one kind of device. Tensors x, y, dy, residual: one
// dtype (float32 or bfloat16), one layout (contiguous, or channels-last for all); per-channel
// tensors [C] float32 unless said otherwise. On a CPU x, dy and what is written `into` may be
// slices of channels-last tensors' channels (they have a row_stride()); `into` may be undefined:
// then the result is a new tensor, dense as x.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "lockstep/core/kernels/batch_norm_kernels.h"

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
                           bool relu,
                           const at::Tensor& into) = 0;
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
                                    const at::Tensor& count,
                                    const at::Tensor& into) = 0;
};

// The layout the kernels work in: channels-last where x is, else channels-first; dense either way.
at::MemoryFormat layout_of(const at::Tensor& x);
// `tensor` in that layout; stays undefined.
at::Tensor in_layout(const at::Tensor& tensor, at::MemoryFormat format);

// Values from one place of an image to the next, each with all its channels side by side; nullopt
// where [N, C, …] `x` does not lie like that. C for a dense channels-last tensor, more for a slice
// of a wider one's channels.
std::optional<int64_t> row_stride(const at::Tensor& x);

// The kernels' view of [N, C, …] `x` with `y` (or dy), as which residual, mask.y and masked lie.
// Throws Error(kInternal) for other dtypes, and where the two do not match.
kernels::Activation activation_of(const at::Tensor& x, const at::Tensor& y);
inline kernels::Activation activation_of(const at::Tensor& x) { return activation_of(x, x); }

BatchNormPasses& batch_norm_passes(at::Device device);
BatchNormPasses& batch_norm_passes_cpu();
BatchNormPasses& batch_norm_passes_cuda();

}  // namespace lockstep
