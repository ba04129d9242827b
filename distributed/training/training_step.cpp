#include "lockstep/distributed/training/training_step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <c10/core/AutogradState.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/data/loading/sampler.h"

namespace lockstep {
namespace {

// The scalars that travel with the last bucket, before the batch-norm statistics.
enum Extra : int64_t { kLoss, kCorrect, kImages, kStopRequests, kNumScalars };

// Backward in the calling thread alone, on GPUs too, where LibTorch has a thread for each device:
// hooks, and the communicators that they call, then stay in one thread.
class BackwardInThisThread {
 public:
  BackwardInThisThread() { state().set_multithreading_enabled(false); }
  ~BackwardInThisThread() { state().set_multithreading_enabled(before_); }
  BackwardInThisThread(const BackwardInThisThread&) = delete;
  BackwardInThisThread& operator=(const BackwardInThisThread&) = delete;

 private:
  static c10::AutogradState& state() { return c10::AutogradState::get_tls_state(); }
  bool before_ = state().get_multithreading_enabled();
};

Batch part_of(const Batch& batch, const IndexRange& part) {
  const auto cut = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.narrow(0, part.begin, part.size()) : tensor;
  };
  Batch slice;
  slice.images = cut(batch.images);
  slice.labels = cut(batch.labels);
  slice.second_labels = cut(batch.second_labels);
  slice.mixing = batch.mixing;
  slice.global_size = batch.global_size;
  slice.first_position = batch.first_position + part.begin;
  return slice;
}

}  // namespace

TrainingStep::TrainingStep(const TrainingStepParts& parts,
                           ForwardAndLoss forward_and_loss,
                           const TrainingStepOptions& options)
    : parts_(parts),
      forward_and_loss_(std::move(forward_and_loss)),
      options_(options),
      batch_norm_state_(parts.model),
      reducer_(parts.parameters,
               parts.communicator,
               kNumScalars + batch_norm_state_.contribution_size()) {
  batch_norm_state_.attach(
      reducer_.extras().narrow(0, kNumScalars, batch_norm_state_.contribution_size()));
}

TrainingStep::~TrainingStep() = default;

StepResult TrainingStep::run(const Batch& batch,
                             int64_t step,
                             double learning_rate,
                             bool request_stop) {
  const int64_t slice_size = batch.images.size(0);
  reducer_.begin_update();
  for (int64_t m = 0; m < options_.accumulation_steps; ++m) {
    const IndexRange part = contiguous_part(slice_size, m, options_.accumulation_steps);
    accumulate(part_of(batch, part), step, m == options_.accumulation_steps - 1);
  }
  reducer_.extras()[kImages].fill_(static_cast<double>(slice_size));
  reducer_.extras()[kStopRequests].fill_(request_stop ? 1.0 : 0.0);
  reducer_.finish_update();

  // Every rank holds the same sums by now, so every rank draws the same conclusions from them.
  const at::NoGradGuard no_grad;
  const StepResult result = read_sums();
  LOCKSTEP_CHECK(result.images == batch.global_size,
                 "the ranks' slices hold {} images, the global batch {}",
                 result.images,
                 batch.global_size);
  apply(result, learning_rate);
  return result;
}

void TrainingStep::accumulate(const Batch& slice, int64_t step, bool last) {
  const StepContext context{.training = true,
                            .seed = options_.seed,
                            .step = step,
                            .first_position = slice.first_position,
                            .statistics_exchange = parts_.exchange};
  const ClassificationSums sums = forward_and_loss_(slice, context);
  reducer_.begin_backward(last);
  {
    const at::NoGradGuard no_grad;
    reducer_.extras()[kLoss].add_(sums.loss);
    reducer_.extras()[kCorrect].add_(sums.correct);
  }
  const BackwardInThisThread thread;
  sums.loss.backward();
}

StepResult TrainingStep::read_sums() {
  const at::Tensor norm = at::linalg_vector_norm(parts_.parameters.gradient());
  parts_.communicator.synchronise("update");
  const at::Tensor scalars =
      at::cat({reducer_.extras().narrow(0, 0, kNumScalars), norm.view({1})}).to(at::kCPU);
  const float* values = scalars.const_data_ptr<float>();
  StepResult result;
  result.images = static_cast<int64_t>(values[kImages]);
  result.loss_sum = values[kLoss];
  result.correct = static_cast<int64_t>(values[kCorrect]);
  result.stop_requested = values[kStopRequests] > 0;
  result.gradient_norm = values[kNumScalars] / static_cast<double>(result.images);
  result.finite = std::isfinite(values[kNumScalars]) && std::isfinite(values[kLoss]);
  return result;
}

void TrainingStep::apply(const StepResult& result, double learning_rate) {
  double divisor = static_cast<double>(result.images);
  const double limit = options_.clip_gradient_norm;
  if (limit > 0 && result.finite) {
    // torch.nn.utils.clip_grad_norm_: multiply by min(1, limit / (norm + 1e-6)).
    divisor /= std::min(1.0, limit / (result.gradient_norm + 1e-6));
  }
  const auto scalar_options = parts_.parameters.master().options();
  parts_.optimizer.step(learning_rate,
                        at::full({}, divisor, scalar_options),
                        at::full({}, result.finite ? 0.0 : 1.0, scalar_options));
  if (result.finite) batch_norm_state_.update();
}

}  // namespace lockstep
