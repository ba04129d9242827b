// Early stopping as a pure function of the watched quantity (Prechelt 1998; Goodfellow et al. 2016,
// section 7.8).
#pragma once

#include <cstdint>

#include "lockstep/core/config/config.h"

namespace lockstep {

struct EarlyStoppingState {
  double best = 0.0;       // meaningful once best_epoch > 0
  int64_t best_epoch = 0;  // 1-based; 0 = none yet
  int64_t epochs_without_improvement = 0;
};

struct EarlyStoppingDecision {
  EarlyStoppingState state;
  bool improved = false;
  bool stop = false;
  int64_t patience_left = 0;
};

// After epoch `epoch` (1-based) with value `value` of the configured quantity: an improvement is a
// change by at least min_delta in the right direction (a tie is none; the first finite value always
// is one); stops after max(1, patience) epochs without one. NaN is no improvement. With enabled =
// false it tracks the best but never stops.
EarlyStoppingDecision early_stopping_after_epoch(const EarlyStoppingConfig& config,
                                                 const EarlyStoppingState& state,
                                                 int64_t epoch,
                                                 double value);

}  // namespace lockstep
