#include "lockstep/core/training/early_stopping.h"

#include <algorithm>
#include <cmath>

namespace lockstep {
namespace {

constexpr WatchedQuantity kQuantities[] = {
    {"validation_loss",
     "mean cross entropy on the validation images; less is better",
     false,
     [](const ValidationNumbers& numbers) { return numbers.loss; }},
    {"validation_accuracy",
     "part of the validation images that are told right; more is better",
     true,
     [](const ValidationNumbers& numbers) { return numbers.accuracy; }},
};

}  // namespace

std::span<const WatchedQuantity> WatchedQuantity::table() { return kQuantities; }

EarlyStoppingDecision early_stopping_after_epoch(const EarlyStoppingConfig& config,
                                                 const EarlyStoppingState& state,
                                                 int64_t epoch,
                                                 double value) {
  EarlyStoppingDecision decision{.state = state};
  const double gain = config.quantity->larger_is_better ? value - state.best : state.best - value;
  // A comparison with NaN is false: no improvement. Neither is a tie, also where min_delta is 0.
  decision.improved =
      std::isfinite(value) && (state.best_epoch == 0 || (gain > 0 && gain >= config.min_delta));
  if (decision.improved) {
    decision.state = {.best = value, .best_epoch = epoch, .epochs_without_improvement = 0};
  } else {
    ++decision.state.epochs_without_improvement;
  }
  const int64_t patience = std::max<int64_t>(1, config.patience);
  decision.patience_left =
      std::max<int64_t>(0, patience - decision.state.epochs_without_improvement);
  decision.stop = config.enabled && decision.patience_left == 0;
  return decision;
}

}  // namespace lockstep
