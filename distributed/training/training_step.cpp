#include "lockstep/distributed/training/training_step.h"

#include <ATen/ops/linalg_vector_norm.h>

#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/loss.h"
#include "lockstep/data/loading/sampler.h"

namespace lockstep {
namespace {

// The scalars that travel with the last bucket, before the batch-norm statistics.
enum Extra : int64_t { kLoss, kCorrect, kImages, kStopRequests, kNumScalars };

ClassificationSums sums_of(const at::Tensor& logits,
                           const Batch& batch,
                           const IndexRange& part,
                           double label_smoothing) {
  const at::Tensor labels = batch.labels.narrow(0, part.begin, part.size());
  if (!batch.second_labels.defined()) return cross_entropy_sums(logits, labels, label_smoothing);
  return mixed_cross_entropy_sums(logits,
                                  labels,
                                  batch.second_labels.narrow(0, part.begin, part.size()),
                                  batch.mixing.weight,
                                  label_smoothing);
}

}  // namespace

TrainingStep::TrainingStep(ImageClassifier& model,
                           FlatParameters& parameters,
                           Optimizer& optimizer,
                           Communicator& gradients,
                           StatisticsExchange* statistics,
                           const Config& config)
    : model_(model),
      parameters_(parameters),
      optimizer_(optimizer),
      gradients_(gradients),
      statistics_(statistics),
      config_(config),
      batch_norm_state_(model),
      reducer_(parameters, gradients, kNumScalars + batch_norm_state_.contribution_size()) {
  batch_norm_state_.attach(
      reducer_.extras().narrow(0, kNumScalars, batch_norm_state_.contribution_size()));
}

TrainingStep::~TrainingStep() = default;

StepResult TrainingStep::run(const Batch& batch,
                             int64_t step,
                             double learning_rate,
                             bool request_stop) {
  reducer_.begin_update();
  at::Tensor& extras = reducer_.extras();
  const int64_t slice = batch.images.size(0);
  const int64_t num_micro_slices = config_.distributed.accumulation_steps;
  for (int64_t m = 0; m < num_micro_slices; ++m) {
    const IndexRange part = contiguous_part(slice, m, num_micro_slices);
    StepContext context;
    context.training = true;
    context.seed = static_cast<uint64_t>(config_.seed);
    context.step = step;
    context.first_position = batch.first_position + part.begin;
    context.statistics_exchange = statistics_;

    const ClassifierOutput output =
        model_.forward(batch.images.narrow(0, part.begin, part.size()), context);
    ClassificationSums sums =
        sums_of(output.logits, batch, part, config_.optimizer.label_smoothing);
    for (const at::Tensor& logits : output.auxiliary_logits) {
      sums.loss =
          sums.loss + model_.auxiliary_weight() *
                          sums_of(logits, batch, part, config_.optimizer.label_smoothing).loss;
    }
    reducer_.begin_backward(m == num_micro_slices - 1);
    {
      const at::NoGradGuard no_grad;
      extras[kLoss].add_(sums.loss);
      extras[kCorrect].add_(sums.correct);
    }
    sums.loss.backward();
  }
  extras[kImages].fill_(static_cast<double>(slice));
  extras[kStopRequests].fill_(request_stop ? 1.0 : 0.0);
  reducer_.finish_update();

  // Every rank holds the same sums by now, so every rank draws the same conclusions from them.
  const at::NoGradGuard no_grad;
  const at::Tensor norm = at::linalg_vector_norm(parameters_.gradient());
  gradients_.synchronise("update");
  const at::Tensor scalars =
      at::cat({extras.narrow(0, 0, kNumScalars), norm.view({1})}).to(at::kCPU);
  const float* values = scalars.const_data_ptr<float>();
  StepResult result;
  result.images = static_cast<int64_t>(values[kImages]);
  LOCKSTEP_CHECK(result.images == batch.global_size,
                 "the ranks' slices hold {} images, the global batch {}",
                 result.images,
                 batch.global_size);
  result.loss_sum = values[kLoss];
  result.correct = static_cast<int64_t>(values[kCorrect]);
  result.stop_requested = values[kStopRequests] > 0;
  result.gradient_norm = values[kNumScalars] / static_cast<double>(result.images);
  result.finite = std::isfinite(values[kNumScalars]) && std::isfinite(values[kLoss]);

  double divisor = static_cast<double>(result.images);
  const double limit = config_.optimizer.clip_gradient_norm;
  if (limit > 0 && result.finite) {
    // torch.nn.utils.clip_grad_norm_: multiply by min(1, limit / (norm + 1e-6)).
    divisor /= std::min(1.0, limit / (result.gradient_norm + 1e-6));
  }
  const auto scalar_options = parameters_.master().options();
  optimizer_.step(learning_rate,
                  at::full({}, divisor, scalar_options),
                  at::full({}, result.finite ? 0.0 : 1.0, scalar_options));
  if (result.finite) batch_norm_state_.update();
  return result;
}

}  // namespace lockstep
