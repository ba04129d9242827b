// The passes of fused batch normalisation on one kind of device. Tensors x, y, dy, residual: one
// dtype (float32 or bfloat16), one layout (contiguous, or channels-last for all); per-channel
// tensors [C] float32 unless said otherwise. On a CPU x, dy and what is written `into` may be
// slices of channels-last tensors' channels (they have a row_stride()); `into` may be undefined:
// then the result is a new tensor, dense as x.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_operands.h"

namespace lockstep {

struct BatchNormCoefficients {
  at::Tensor mean, inverse_deviation;  // of what was normalised together
  at::Tensor unbiased_variance;
  at::Tensor scale, offset;  // y = x * scale + offset
  at::Tensor has_variance;   // [1]: 1 if there was more than one value per channel, else 0
};

// y = x * scale + offset (+ residual, if defined) (then relu)
struct BatchNormForward {
  at::Tensor x, scale, offset, residual;
  bool relu = false;
  at::Tensor into;
};

// The gradient g that passes the ReLU: dy where that was open, which is where y > 0, of `y` if
// defined, else of x * scale + offset. Without relu all of dy.
struct BatchNormGradient {
  at::Tensor x, dy;
  bool relu = false;
  at::Tensor scale, offset, y;
};

// What becomes of g: dx = weight / σ (g - Σg / n - (x - mean) Σg (x - mean) / (n σ²)).
struct BatchNormBackward {
  BatchNormGradient gradient;  // without y
  at::Tensor sums;             // gradient_sums() of all that was normalised together
  at::Tensor count;            // n, [1] float64: on the device, so that nothing waits for it
  at::Tensor weight, mean, inverse_deviation;
  at::Tensor into;
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
  virtual at::Tensor apply(const BatchNormForward& forward) = 0;
  // [2C] float64: Σg, Σg (x - mean). g is written to `masked`, which is defined where gradient.y
  // is, and only there.
  virtual at::Tensor gradient_sums(const BatchNormGradient& gradient,
                                   const at::Tensor& mean,
                                   const at::Tensor& masked) = 0;
  virtual at::Tensor input_gradient(const BatchNormBackward& backward) = 0;
};

// The layout the kernels work in: channels-last where x is, else channels-first; dense either way.
at::MemoryFormat layout_of(const at::Tensor& x);
// `tensor` in that layout; stays undefined.
at::Tensor in_layout(const at::Tensor& tensor, at::MemoryFormat format);

// Values from one place of an image to the next, each with all its channels side by side; nullopt
// where [N, C, …] `x` does not lie like that. C for a dense channels-last tensor, more for a slice
// of a wider one's channels.
std::optional<int64_t> row_stride(const at::Tensor& x);

// The kernels' view of [N, C, …] `x` (and dx) beside `y`; all other tensors of a pass, whichever it
// is, lie as `y` does. Throws Error(kInternal) for other dtypes, and where the two do not match.
kernels::Activation activation_of(const at::Tensor& x, const at::Tensor& y);
inline kernels::Activation activation_of(const at::Tensor& x) { return activation_of(x, x); }

// The kernels' views of tensors.
inline const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
kernels::ForwardMap forward_map(const BatchNormForward& forward, const at::Tensor& y);
kernels::GradientTerms gradient_terms(const BatchNormGradient& gradient,
                                      const at::Tensor& mean,
                                      const at::Tensor& masked);
// The formula of `slopes` ([3C] float32), and the pass that writes dx with them.
kernels::SlopesOfSums slopes_of(const BatchNormBackward& backward, const at::Tensor& slopes);
kernels::BackwardMap backward_map(const BatchNormBackward& backward,
                                  const at::Tensor& slopes,
                                  const at::Tensor& dx);

// New tensors on weight's device, and the formula that fills them.
struct PreparedCoefficients {
  BatchNormCoefficients result;
  kernels::CoefficientsOfMoments formula;
};
PreparedCoefficients prepare_coefficients(const at::Tensor& moments,
                                          const at::Tensor& weight,
                                          const at::Tensor& bias,
                                          double epsilon);

BatchNormPasses& batch_norm_passes(at::Device device);
BatchNormPasses& batch_norm_passes_cpu();
BatchNormPasses& batch_norm_passes_cuda();

}  // namespace lockstep
