// Why a run ended.
#pragma once

#include <array>

#include "lockstep/core/base/named_enum.h"

namespace lockstep {

enum class EndReason { kCompleted, kEarlyStopping, kInterrupted, kDiverged };

template <>
inline constexpr auto kEnumRows<EndReason> = std::to_array<EnumRow<EndReason>>({
    {EndReason::kCompleted, "completed", "all epochs, or as many updates as limits.steps allows"},
    {EndReason::kEarlyStopping, "early_stopping", "the watched quantity no longer improved"},
    {EndReason::kInterrupted,
     "interrupted",
     "by a signal or the wall-time limit; the state is saved"},
    {EndReason::kDiverged, "diverged", "the gradient was no longer finite"},
});

// Whether the run came to an end of its own: it is tested and judged, and does not go on.
inline bool is_finished(EndReason reason) {
  return reason == EndReason::kCompleted || reason == EndReason::kEarlyStopping;
}

}  // namespace lockstep
