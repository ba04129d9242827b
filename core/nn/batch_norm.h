// Batch normalisation, optional residual addition and optional ReLU as one operation: y =
// relu(batch_norm(x) + residual).
//
// One autograd function with two passes each way (forward: sums per channel, then y; backward:
// sums, then dx) saves about half the memory traffic of separate operations. Between the passes
// stands the optional exchange of {sums, count} over ranks: with it the operation is synchronised
// batch norm, without it local; same kernels (Ioffe and Szegedy 2015, algorithm 1; conventions of
// torch.nn.BatchNorm2d). Statistics are float32 whatever the dtype of x, shifted so that large
// means do not cancel.
#pragma once

#include <torch/nn/module.h>

#include <optional>
#include <vector>

#include "lockstep/core/base/image_groups.h"
#include "lockstep/core/nn/step_context.h"

namespace lockstep {

// Where a layer adds its statistics, each group's weighted by its images: float32 [C], [C], [1],
// [1].
struct BatchNormContribution {
  at::Tensor mean_sum;         // += images * mean
  at::Tensor variance_sum;     // += images * unbiased variance, where there was more than one value
                               // a channel
  at::Tensor mean_images;      // += images
  at::Tensor variance_images;  // += images, where there was more than one value a channel
};

// Channels of x, those behind the previous part's, that get a y of their own.
struct BatchNormPart {
  int64_t channels = 0;
  // y is written here: [N, channels, H, W], some channels of a wider channels-last tensor.
  // Undefined: y is a new tensor.
  at::Tensor into = {};
  BatchNormContribution contribution = {};  // undefined: the statistics are added to nothing
};

struct BatchNormResult {
  std::vector<at::Tensor> y;  // one for each part; without parts one, as x
  // Statistics of what was normalised together (each group, or the global batch under an exchange),
  // detached, float32 [groups, C]:
  at::Tensor mean;
  at::Tensor unbiased_variance;  // 0 where there was one value per channel
  at::Tensor has_variance;       // [groups]: 1 if there was more than one value per channel, else 0
};

// y = relu(batch_norm(x) + residual), both extras optional.
struct BatchNormInput {
  at::Tensor x;  // [N, C, H, W] or [N, C], float32 or bfloat16, contiguous or channels-last
  at::Tensor weight, bias;  // [C] float32
  double epsilon = 1e-5;
  bool relu = false;
  at::Tensor residual = {};  // undefined, or as x
  // Training: the groups of x's images, of which each is normalised on its own; without, x is one
  // group.
  std::optional<ImageGroups> groups = {};
};

// Training mode, on a CPU or CUDA; N may be 0 under an exchange, which takes one group.
// Differentiable in x, weight, bias and residual. `parts`, all of C together: the same numbers at
// other places, without copies; several, or one with an `into`, only for images on a CPU and
// without a residual.
BatchNormResult batch_norm_train(const BatchNormInput& input,
                                 StatisticsExchange* exchange = nullptr,
                                 const std::vector<BatchNormPart>& parts = {});

// Evaluation mode: normalises with the running statistics (float32 [C]). No collective, no gradient
// needed.
at::Tensor batch_norm_eval(const BatchNormInput& input,
                           const at::Tensor& running_mean,
                           const at::Tensor& running_variance);

// What a layer does beside normalising.
struct BatchNormExtras {
  bool relu = false;
  at::Tensor residual = {};  // undefined, or as x: added before the ReLU
  at::Tensor into = {};      // as BatchNormPart's, only where the layer learns(), on a CPU and
                             // without a residual
};

// The layer. Parameters weight, bias; buffers running_mean, running_var, num_batches_tracked (names
// of torch.nn.BatchNorm2d).
//
// In training it does not touch its running statistics when `contribution` is attached
// (BatchNormState does that): it adds its batch statistics there, to be summed over micro-slices
// and ranks and applied once an update, so that the running buffers are equal on all ranks at every
// step. Without one it updates them itself, as PyTorch does.
class BatchNorm : public torch::nn::Module {
 public:
  explicit BatchNorm(int64_t num_channels, double epsilon = 1e-5, double momentum = 0.1);

  // norm.forward(x, context, {.relu = true, .residual = shortcut})
  at::Tensor forward(const at::Tensor& x,
                     const StepContext& context,
                     const BatchNormExtras& extras = {});

  // Several layers, each followed by a ReLU, as one operation with one exchange of statistics: the
  // first layer takes the first channels of x, the next those behind them. Returns each layer's y,
  // written to into[i] where that is defined (see BatchNormPart). Only on a CPU, and only where
  // every layer learns().
  static std::vector<at::Tensor> forward_together(const at::Tensor& x,
                                                  const std::vector<BatchNorm*>& layers,
                                                  const StepContext& context,
                                                  const std::vector<at::Tensor>& into);

  // Does it normalise with the batch's statistics (and add to its running ones)?
  bool learns(const StepContext& context) const { return context.training && !frozen_; }

  void attach(BatchNormContribution contribution) { contribution_ = std::move(contribution); }

  // From now on it normalises with its running statistics in training too, and leaves them alone.
  void freeze() { frozen_ = true; }
  bool frozen() const { return frozen_; }

  int64_t num_channels() const { return num_channels_; }
  double momentum() const { return momentum_; }

  at::Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 private:
  void move_running_statistics(const BatchNormInput& input,
                               const at::Tensor& mean,
                               const at::Tensor& unbiased_variance,
                               const at::Tensor& has_variance);

  int64_t num_channels_;
  double epsilon_, momentum_;
  bool frozen_ = false;
  BatchNormContribution contribution_;
};

}  // namespace lockstep
