// One update of the model by one global batch.
#pragma once

#include <cstdint>
#include <functional>

#include "lockstep/core/nn/batch_norm_state.h"
#include "lockstep/core/nn/loss.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/nn/step_context.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/distributed/training/gradient_reducer.h"

namespace lockstep {

struct StepResult {
  double loss_sum = 0;       // over the global batch, of the loss trained on
  int64_t correct = 0;       // of the global batch
  int64_t images = 0;        // of the global batch
  double gradient_norm = 0;  // L2, before clipping, of the mean gradient
  // False: the gradient held NaN or infinity and the update was skipped, on all ranks.
  bool finite = true;
  bool stop_requested = false;  // some rank has received a stop signal
};

// Forward of a slice, and the sums over its images that are trained on: differentiable, of no
// images too (then zero). The context says which update and which place in the global batch it is.
using ForwardAndLoss =
    std::function<ClassificationSums(const Batch& slice, const StepContext& context)>;

struct TrainingStepOptions {
  uint64_t seed = 1;                // of what the model draws by step and place
  int64_t accumulation_steps = 1;   // micro-slices that a rank cuts its slice into
  double clip_gradient_norm = 0.0;  // global L2 norm; 0 = off
};

// What a step works on: all of it must outlive the step.
struct TrainingStepParts {
  torch::nn::Module& model;    // on its device, taken over by `parameters`
  FlatParameters& parameters;  // no extra slots may have been reserved: the step reserves its own
  Optimizer& optimizer;        // of `parameters`
  Communicator& communicator;  // carries gradients and, between steps, what its owner sends
  StatisticsExchange* exchange = nullptr;  // of synchronised batch norm; null: none
};

// Forward, loss sum, backward, reduced gradients, update: over this rank's slice, in
// `accumulation_steps` micro-slices. Sums are divided once by the global batch's size. An empty
// slice takes part with zeros.
class TrainingStep {
 public:
  TrainingStep(const TrainingStepParts& parts,
               ForwardAndLoss forward_and_loss,
               const TrainingStepOptions& options);
  ~TrainingStep();
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  // `step`: updates done before. `request_stop`: this rank wants the run to stop after this update.
  // Collective.
  // REQUIRES: the same batch number, step and rate on every rank; the model in training mode.
  StepResult run(const Batch& batch, int64_t step, double learning_rate, bool request_stop = false);

 private:
  void accumulate(const Batch& slice, int64_t step, bool last);
  StepResult read_sums();
  void apply(const StepResult& result, double learning_rate);

  TrainingStepParts parts_;
  ForwardAndLoss forward_and_loss_;
  TrainingStepOptions options_;
  BatchNormState batch_norm_state_;
  GradientReducer reducer_;
};

}  // namespace lockstep
