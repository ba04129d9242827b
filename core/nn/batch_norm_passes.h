// The passes of fused batch normalisation on one kind of device. Tensors x, y, dy, residual: one
// dtype (float32 or bfloat16), one layout (contiguous, or channels-last for all). What there is per
// group and channel: [groups, C] float32 unless said otherwise, or some channels of such a tensor.
// On a CPU x, dy and what is written `into` may be slices of channels-last tensors' channels (they
// have a row_stride()); `into` may be undefined: then the result is a new tensor, dense as x.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_operands.h"
#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {

// What forward learns of a batch.
struct BatchNormStatistics {
  at::Tensor moments;  // [groups, 2C + 1] float64: Σx, Σx², values per channel; in float64 so that
                       // sums of different ranks add without cancelling for large means
  at::Tensor mean, inverse_deviation, unbiased_variance;
  at::Tensor scale, offset;  // y = x * scale + offset
  at::Tensor has_variance;   // [groups]: 1 if there was more than one value per channel, else 0
};
BatchNormStatistics new_statistics(const ImageGroups& groups, const at::Tensor& weight);

// What it learns that from, and what it adds it to.
struct BatchNormBatch {
  at::Tensor x, weight, bias;
  double epsilon = 0;
  ImageGroups groups;
  std::vector<BatchNormPart> parts;  // all of C together
};

// y = x * scale + offset (+ residual, if defined) (then relu)
struct BatchNormForward {
  at::Tensor x;
  ImageGroups groups;
  at::Tensor scale, offset, residual;
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

// What becomes of g, for all of a norm's channels or some.
struct BatchNormBackward {
  ImageGroups groups;
  // Of forward; counts: n, values per channel, [groups] float64 (on the device, so that nothing
  // waits for them).
  at::Tensor counts, weight, mean, inverse_deviation;
  // Written:
  at::Tensor sums;            // [groups, 2, C] float64: Σg, Σg (x - mean)
  at::Tensor slopes;          // [groups, 3, C]: those of g, x and 1 in dx
  at::Tensor dweight, dbias;  // [C]

  BatchNormBackward of_channels(int64_t begin, int64_t channels) const;
};
BatchNormBackward new_backward(const ImageGroups& groups,
                               const at::Tensor& counts,
                               const at::Tensor& weight,
                               const at::Tensor& mean,
                               const at::Tensor& inverse_deviation);

class BatchNormPasses {
 public:
  virtual ~BatchNormPasses() = default;

  // Forward. moments() fills statistics.moments, which may then be summed over ranks;
  // coefficients() the rest of them, and adds to the contributions of the parts. statistics() is
  // both.
  virtual void moments(const BatchNormBatch& batch, const BatchNormStatistics& statistics) = 0;
  virtual void coefficients(const BatchNormBatch& batch, const BatchNormStatistics& statistics) = 0;
  virtual void statistics(const BatchNormBatch& batch, const BatchNormStatistics& statistics) {
    moments(batch, statistics);
    coefficients(batch, statistics);
  }
  virtual at::Tensor apply(const BatchNormForward& forward) = 0;

  // Backward. gradient_sums() fills sums, dweight and dbias; the sums may then be summed over
  // ranks; slopes() follows, once for all channels. gradients() is both. g is written to `masked`,
  // which is defined where gradient.y is, and only there.
  virtual void gradient_sums(const BatchNormGradient& gradient,
                             const BatchNormBackward& backward,
                             const at::Tensor& masked) = 0;
  virtual void slopes(const BatchNormBackward& backward) = 0;
  virtual void gradients(const BatchNormGradient& gradient,
                         const BatchNormBackward& backward,
                         const at::Tensor& masked) {
    gradient_sums(gradient, backward, masked);
    slopes(backward);
  }
  // dx; gradient.y is undefined.
  virtual at::Tensor input_gradient(const BatchNormGradient& gradient,
                                    const BatchNormBackward& backward,
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

// The kernels' view of [N, C, …] `x` (and dx) beside `y`; all other tensors of a pass, whichever it
// is, lie as `y` does. `per_channel` is one of those per group and channel. Throws Error(kInternal)
// for other dtypes, and where tensors or groups do not match.
kernels::Activation activation_of(const at::Tensor& x,
                                  const at::Tensor& y,
                                  const ImageGroups& groups,
                                  const at::Tensor& per_channel);

// The kernels' views of tensors.
kernels::CoefficientsOfMoments coefficients_of(const BatchNormBatch& batch,
                                               const BatchNormStatistics& statistics);
kernels::StatisticsContribution contribution_of(const BatchNormContribution& contribution);
kernels::ForwardMap forward_map(const BatchNormForward& forward, const at::Tensor& y);
kernels::GradientTerms gradient_terms(const BatchNormGradient& gradient,
                                      const at::Tensor& mean,
                                      const at::Tensor& masked);
kernels::GradientsOfSums gradients_of(const BatchNormBackward& backward);
kernels::BackwardMap backward_map(const BatchNormGradient& gradient,
                                  const at::Tensor& slopes,
                                  const at::Tensor& dx);

BatchNormPasses& batch_norm_passes(at::Device device);
BatchNormPasses& batch_norm_passes_cpu();
BatchNormPasses& batch_norm_passes_cuda();

}  // namespace lockstep
