// One update of the model by one global batch.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "lockstep/core/base/image_groups.h"
#include "lockstep/core/nn/batch_norm_state.h"
#include "lockstep/core/nn/loss.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/nn/step_context.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/data/loading/batch_cut.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/distributed/training/gradient_reducer.h"

namespace lockstep {

class ShardSums;
class StepGraphs;
class UpdateDecision;
class UpdateLink;

// What a rank wants to happen after an update; rank 0 alone asks for saving.
enum class StepRequest { kNone, kSave, kStop };

struct StepResult {
  double loss_sum = 0;       // over the global batch, of the loss trained on
  int64_t correct = 0;       // of the global batch
  int64_t images = 0;        // of the global batch
  double gradient_norm = 0;  // L2, before clipping, of the mean gradient
  double learning_rate = 0;  // as it was given
  // False: the gradient held NaN or infinity, or that of an update before which had not been
  // collected when this one was queued; the update was skipped, on all ranks.
  bool finite = true;
  bool stop_requested = false;  // some rank wants the run to stop
  bool save_requested = false;  // rank 0 wants it saved
};

// Forward of a slice, and the sums over its images that are trained on: differentiable, of no
// images too (then zero). The context says which update and which place in the global batch it is.
using ForwardAndLoss =
    std::function<ClassificationSums(const Batch& slice, const StepContext& context)>;

struct TrainingStepOptions {
  uint64_t seed = 1;               // of what the model draws by step and place
  int64_t accumulation_steps = 1;  // micro-slices that a rank cuts its slice into
  // What slices and micro-slices are runs of. With a group_size batch norm normalises each group on
  // its own; without, over a micro-slice, under an exchange over all ranks'. With num_shards each
  // shard is computed by itself, and sums over shards have the same bits at any number of ranks: a
  // rank's only micro-slices are then its shards.
  BatchCut cut;
  double clip_gradient_norm = 0.0;             // global L2 norm; 0 = off
  at::ScalarType gradient_dtype = at::kFloat;  // as what gradients travel; not of shards' sums
  bool graphs = false;  // on a GPU: steps are recorded and replayed (step_graphs.h)
};

// What a step works on: all of it must outlive the step.
struct TrainingStepParts {
  torch::nn::Module& model;    // on its device, taken over by `parameters`
  FlatParameters& parameters;  // no extra slots may have been reserved: the step reserves its own
  Optimizer& optimizer;        // of `parameters`
  Communicator& communicator;  // carries gradients and, between steps, what its owner sends
  StatisticsExchange* exchange = nullptr;  // of synchronised batch norm; null: none
  WeightAverage* average = nullptr;        // moves with every update; null: none
};

// Forward, loss sum, backward, reduced gradients, update: over this rank's slice, in
// `accumulation_steps` micro-slices. Sums are divided once by the global batch's size. An empty
// slice takes part with zeros.
//
// On a GPU the host stays ahead: an update is queued while the one before is still computed, and
// its result is collected later. Order of calls, as a regular expression: run | (enqueue
// collect?)*, with at most max_under_way() updates that have not been collected.
class TrainingStep {
 public:
  TrainingStep(const TrainingStepParts& parts,
               ForwardAndLoss forward_and_loss,
               const TrainingStepOptions& options);
  ~TrainingStep();
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  // Queues an update. `step`: updates before it, those under way included. `request`: this
  // rank's, for after it. Collective.
  // REQUIRES: the same batch number, step and rate on every rank; the model in training mode.
  void enqueue(const Batch& batch,
               int64_t step,
               double learning_rate,
               StepRequest request = StepRequest::kNone);
  // Waits for the oldest update that has not been collected. The same on every rank.
  StepResult collect();
  // Updates that have not been collected; how many they may be: 2 on a GPU, 1 on a CPU.
  int64_t under_way() const;
  int64_t max_under_way() const;

  // Both at once.
  StepResult run(const Batch& batch,
                 int64_t step,
                 double learning_rate,
                 StepRequest request = StepRequest::kNone);

 private:
  void compute(const Batch& batch, int64_t step, double learning_rate);
  std::unique_ptr<BucketTransport> make_transport();
  void sum_micro_slices(const Batch& batch, int64_t step, const IndexRange& shards);
  void sum_shards(const Batch& batch, int64_t step, const IndexRange& shards);
  void accumulate(const Batch& batch, const ImageGroups& groups, int64_t step, bool last);
  void update(double learning_rate);

  // What is known of an update when it is queued.
  struct Queued {
    int64_t global_size = 0;
    double learning_rate = 0;
    bool forgotten = false;  // that it was skipped: a later one was told to go on
  };

  TrainingStepParts parts_;
  ForwardAndLoss forward_and_loss_;
  TrainingStepOptions options_;
  BatchNormState batch_norm_state_;
  ShardSums* shard_sums_ = nullptr;  // the reducer's transport; null: another one
  GradientReducer reducer_;
  std::unique_ptr<UpdateDecision> decision_;
  std::unique_ptr<UpdateLink> link_;
  std::unique_ptr<StepGraphs> graphs_;  // null: none
  std::deque<Queued> queued_;
  bool forgive_ = false;  // a skipped update has been collected: the next one goes on
};

}  // namespace lockstep
