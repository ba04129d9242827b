// For autograd functions written by hand, whose backward passes autograd cannot follow.
#pragma once

#include <ATen/core/grad_mode.h>

#include "lockstep/core/base/error.h"

namespace lockstep {

// At the beginning of such a backward pass: throws Error(kUsage) when a second derivative is asked
// for (create_graph), since autograd would take what the pass computes for constants.
inline void refuse_second_derivative(const char* operation) {
  if (!at::GradMode::is_enabled()) return;
  throw_error(ExitCode::kUsage,
              "{} has no second derivative: call backward without create_graph, or build the model "
              "from torch's own layers",
              operation);
}

}  // namespace lockstep
