#include "lockstep/distributed/setup/graph_use.h"

#include "lockstep/core/base/error.h"

namespace lockstep {

std::string why_not_recorded(const Config& config,
                             at::Device device,
                             std::string_view backend,
                             bool own_model) {
  if (!device.is_cuda()) return "that is for GPUs";
  if (backend != "nccl")
    return "sums between ranks go through the host (distributed.backend=nccl does not)";
  if (own_model && config.distributed.graphs != GraphUse::kOn)
    return "this model is the program's own, which may wait for the device in a step "
           "(distributed.graphs=on: it does not)";
  return "";
}

bool records_steps(const Config& config,
                   at::Device device,
                   std::string_view backend,
                   bool own_model) {
  const GraphUse use = config.distributed.graphs;
  if (use == GraphUse::kOff) return false;
  const std::string reason = why_not_recorded(config, device, backend, own_model);
  if (use == GraphUse::kOn && device.is_cuda() && !reason.empty()) {
    throw_error(ExitCode::kUsage,
                "distributed.graphs=on: steps cannot be recorded as CUDA graphs: {}; or set it to "
                "auto",
                reason);
  }
  return reason.empty();
}

}  // namespace lockstep
