// Whether a resumed run may have another number of epochs.
#pragma once

#include <string>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Throws Error(kUsage) where `now` has other epochs than `before`, the run in `run_directory` has
// saved a state, and the learning-rate schedule spans the whole run: the updates done would lie on
// one curve and those to come on another. The message tells the jump of the next update's rate and
// what may be done instead.
void refuse_other_epochs(const std::string& run_directory, const Config& before, const Config& now);

}  // namespace lockstep
