// Whether training steps are recorded as CUDA graphs.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Why they cannot be, to follow "steps are not recorded as CUDA graphs: "; empty: they can.
// `backend`: of the communicator. `own_model`: it is the program's, not one of model.name.
std::string why_not_recorded(const Config& config,
                             at::Device device,
                             std::string_view backend,
                             bool own_model);

// distributed.graphs, decided. Throws Error(kUsage) for `on` where it cannot be.
bool records_steps(const Config& config,
                   at::Device device,
                   std::string_view backend,
                   bool own_model);

}  // namespace lockstep
