// What a model may know about the step it takes part in.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lockstep/core/base/image_groups.h"

namespace lockstep {

// Sums batch-norm statistics over the ranks that share a global batch (`distributed.batch_norm =
// sync`).
class StatisticsExchange {
 public:
  virtual ~StatisticsExchange() = default;
  // Sums `statistics` ([n] float64, on the model's device) over all ranks, in place. Called by
  // every rank in the same order.
  virtual void sum(at::Tensor& statistics) = 0;
};

struct StepContext {
  bool training = false;
  uint64_t seed = 0;
  int64_t step = 0;  // updates done before this one
  // On a GPU: the same number, [] int32, in memory that stays where it is. What draws by step there
  // reads it, so that a recorded step draws anew in each replay. Undefined: `step` is read.
  at::Tensor device_step = {};
  int64_t first_position =
      0;  // of this slice within the global batch: keys the random numbers of dropout
  StatisticsExchange* statistics_exchange =
      nullptr;  // null: each slice normalises with its own statistics
  // The groups of this slice's images, of which batch norm normalises each on its own. None: the
  // slice is one.
  std::optional<ImageGroups> norm_groups = {};
};

}  // namespace lockstep
