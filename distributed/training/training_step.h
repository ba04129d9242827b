// One update of the model by one global batch.
#pragma once

#include <memory>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/batch_norm_state.h"
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
  bool finite =
      true;  // false: the gradient held NaN or infinity and the update was skipped, on all ranks
  bool stop_requested = false;  // some rank has received a stop signal
};

// Forward, loss sum, backward, reduced gradients, update: over this rank's slice, in
// `accumulation_steps` micro-slices. Sums are divided once by the global batch's size. An empty
// slice takes part with zeros.
class TrainingStep {
 public:
  TrainingStep(ImageClassifier& model,
               FlatParameters& parameters,
               Optimizer& optimizer,
               Communicator& gradients,
               StatisticsExchange* statistics,
               const Config& config);
  ~TrainingStep();

  // `step`: updates done before. `request_stop`: this rank wants the run to stop after this update.
  StepResult run(const Batch& batch, int64_t step, double learning_rate, bool request_stop = false);

 private:
  ImageClassifier& model_;
  FlatParameters& parameters_;
  Optimizer& optimizer_;
  Communicator& gradients_;
  StatisticsExchange* statistics_;
  const Config& config_;
  BatchNormState batch_norm_state_;
  GradientReducer reducer_;
};

}  // namespace lockstep
