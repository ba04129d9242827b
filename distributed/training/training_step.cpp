#include "lockstep/distributed/training/training_step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/AutogradState.h>

#include <bit>
#include <cmath>
#include <optional>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/training/update_decision.h"
#include "lockstep/distributed/training/shard_sums.h"
#include "lockstep/distributed/training/step_graphs.h"
#include "lockstep/distributed/training/update_link.h"

namespace lockstep {
namespace {

// The scalars that travel with the last bucket, before the batch-norm statistics.
enum Extra : int64_t { kLoss, kCorrect, kImages, kRequests, kNumScalars };
// What an update is given by the host; the first two are this rank's part of the sums above.
enum Input : int64_t { kOwnImages, kOwnRequest, kRate, kForgive, kStep, kNumInputs };
// What the host is told: the sums, then
enum Result : int64_t { kNorm = kNumScalars, kSkipped, kNumResults };

// Their sum over the ranks tells whether any wants to stop, and whether rank 0 wants to save.
float as_number(StepRequest request) {
  switch (request) {
    case StepRequest::kSave:
      return 0.5f;
    case StepRequest::kStop:
      return 1.0f;
    default:
      return 0.0f;
  }
}

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

// `images`: of the global batch, some of the slice's.
Batch part_of(const Batch& batch, const IndexRange& images) {
  const auto cut = [&](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.narrow(0, images.begin - batch.first_position, images.size())
                            : tensor;
  };
  Batch slice;
  slice.images = cut(batch.images);
  slice.labels = cut(batch.labels);
  slice.second_labels = cut(batch.second_labels);
  slice.mixing_weights = batch.mixing_weights;
  slice.global_size = batch.global_size;
  slice.first_position = images.begin;
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
               kNumScalars + batch_norm_state_.contribution_size(),
               make_transport()) {
  batch_norm_state_.attach(
      reducer_.extras().narrow(0, kNumScalars, batch_norm_state_.contribution_size()));
  const at::Device device = parts.parameters.master().device();
  decision_ = std::make_unique<UpdateDecision>(device, options.clip_gradient_norm);
  link_ = std::make_unique<UpdateLink>(device, kNumInputs, kNumResults);
  if (options.graphs && device.is_cuda()) graphs_ = std::make_unique<StepGraphs>(device);
}

TrainingStep::~TrainingStep() = default;

std::unique_ptr<BucketTransport> TrainingStep::make_transport() {
  FlatParameters& parameters = parts_.parameters;
  if (options_.cut.num_shards > 0) {
    auto sums = std::make_unique<ShardSums>(
        parameters, parts_.communicator, IndexRange{kImages, kRequests + 1});
    shard_sums_ = sums.get();
    return sums;
  }
  return options_.gradient_dtype == at::kBFloat16 ? make_bfloat16_transport(parameters)
                                                  : make_plain_transport(parameters);
}

int64_t TrainingStep::under_way() const { return link_->under_way(); }
int64_t TrainingStep::max_under_way() const { return link_->max_under_way(); }

void TrainingStep::enqueue(const Batch& batch,
                           int64_t step,
                           double learning_rate,
                           StepRequest request) {
  const int64_t slice_size = batch.images.size(0);
  const bool forgive = std::exchange(forgive_, false);
  for (Queued& before : queued_) before.forgotten |= forgive;
  link_->send({{static_cast<float>(slice_size),
                as_number(request),
                static_cast<float>(learning_rate),
                forgive ? 1.0f : 0.0f,
                std::bit_cast<float>(static_cast<int32_t>(step))}});
  queued_.push_back({batch.global_size, learning_rate});
  if (graphs_ && slice_size > 0) {
    graphs_->run(batch, [&](const Batch& copy) { compute(copy, step, learning_rate); });
  } else {
    compute(batch, step, learning_rate);
  }
  link_->post();
}

// On a GPU with graphs this runs for the first batches of a size only: what changes from step to
// step is read from link_->inputs() there.
void TrainingStep::compute(const Batch& batch, int64_t step, double learning_rate) {
  const IndexRange slice{batch.first_position, batch.first_position + batch.images.size(0)};
  const IndexRange shards = shards_at(batch.global_size, options_.cut, slice);
  reducer_.begin_update();
  if (shard_sums_ != nullptr) {
    sum_shards(batch, step, shards);
  } else {
    sum_micro_slices(batch, step, shards);
  }
  reducer_.extras().narrow(0, kImages, 2).copy_(link_->inputs().narrow(0, kOwnImages, 2));
  reducer_.finish_update();
  update(learning_rate);
}

void TrainingStep::sum_micro_slices(const Batch& batch, int64_t step, const IndexRange& shards) {
  const int64_t steps = options_.accumulation_steps;
  for (int64_t m = 0; m < steps; ++m) {
    const IndexRange part = contiguous_part(shards.size(), m, steps);
    const ImageGroups groups = groups_of_shards(
        batch.global_size, options_.cut, {shards.begin + part.begin, shards.begin + part.end});
    accumulate(batch, groups, step, m == steps - 1);
  }
}

void TrainingStep::sum_shards(const Batch& batch, int64_t step, const IndexRange& shards) {
  shard_sums_->begin_batch(shards_of_batch(batch.global_size, options_.cut));
  for (int64_t shard = shards.begin; shard < shards.end; ++shard) {
    const bool last = shard == shards.end - 1;
    accumulate(
        batch, groups_of_shards(batch.global_size, options_.cut, {shard, shard + 1}), step, last);
    if (last) break;
    reducer_.finish_own();
    if (!shard_sums_->end_shard()) reducer_.begin_update();
  }
}

StepResult TrainingStep::collect() {
  const std::span<const float> values = link_->receive(parts_.communicator);
  const Queued queued = queued_.front();
  queued_.pop_front();
  StepResult result;
  result.images = static_cast<int64_t>(values[kImages]);
  result.loss_sum = values[kLoss];
  result.correct = static_cast<int64_t>(values[kCorrect]);
  result.stop_requested = values[kRequests] >= 1;
  result.save_requested = values[kRequests] != std::floor(values[kRequests]);
  result.gradient_norm = values[kNorm] / static_cast<double>(result.images);
  result.learning_rate = queued.learning_rate;
  result.finite = values[kSkipped] == 0;
  if (!result.finite && !queued.forgotten) forgive_ = true;
  LOCKSTEP_CHECK(result.images == queued.global_size,
                 "the ranks' slices hold {} images, the global batch {}",
                 result.images,
                 queued.global_size);
  return result;
}

StepResult TrainingStep::run(const Batch& batch,
                             int64_t step,
                             double learning_rate,
                             StepRequest request) {
  LOCKSTEP_CHECK(under_way() == 0, "{} updates have not been collected", under_way());
  enqueue(batch, step, learning_rate, request);
  return collect();
}

void TrainingStep::accumulate(const Batch& batch,
                              const ImageGroups& groups,
                              int64_t step,
                              bool last) {
  Batch slice = part_of(batch, images_of(groups));
  // At a place of its own: where a slice lies within a rank's may change a library's sums.
  if (shard_sums_ != nullptr) slice.images = slice.images.clone();
  const bool in_groups = options_.cut.group_size > 0 && groups.count > 0;
  const at::Tensor& inputs = link_->inputs();
  const at::Tensor device_step = inputs.is_cuda() ? inputs.view(at::kInt)[kStep] : at::Tensor();
  const StepContext context{.training = true,
                            .seed = options_.seed,
                            .step = step,
                            .device_step = device_step,
                            .first_position = slice.first_position,
                            .statistics_exchange = parts_.exchange,
                            .norm_groups = in_groups ? std::optional(groups) : std::nullopt};
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

// Every rank holds the same sums by now, so every rank draws the same conclusions from them.
void TrainingStep::update(double learning_rate) {
  const at::NoGradGuard no_grad;
  const at::Tensor& inputs = link_->inputs();
  const at::Tensor sums = reducer_.extras().narrow(0, 0, kNumScalars);
  const at::Tensor norm = at::linalg_vector_norm(parts_.parameters.gradient());
  decision_->decide(sums[kLoss], sums[kImages], norm, inputs[kForgive]);
  const at::Tensor& skip = decision_->skip();
  const at::Tensor rate =
      inputs.is_cuda() ? inputs[kRate] : at::scalar_tensor(learning_rate, at::kDouble);
  parts_.optimizer.step(rate, decision_->gradient_divisor(), skip);
  batch_norm_state_.update(skip);
  if (parts_.average != nullptr) parts_.average->update(skip);
  at::Tensor results = link_->results();
  at::cat_out(results, {sums, norm.view({1}), skip.view({1})});
}

}  // namespace lockstep
