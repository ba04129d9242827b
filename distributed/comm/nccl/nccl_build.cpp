// What is known of NCCL in every build, those without it included.
#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#ifdef LOCKSTEP_WITH_NCCL
#include <nccl.h>
#endif

#include "lockstep/distributed/comm/nccl/nccl_communicator.h"

namespace lockstep {

std::string nccl_version() {
#ifdef LOCKSTEP_WITH_NCCL
  int version = 0;
  if (ncclGetVersion(&version) == ncclSuccess)
    return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
#endif
  return "";
}

BackendDevices nccl_devices() {
  const char* variable = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  const bool shares = variable != nullptr && std::string_view(variable) == "1";
  return shares ? BackendDevices::kAnyGpu : BackendDevices::kGpuOfItsOwn;
}

#ifdef LOCKSTEP_WITH_NCCL
std::unique_ptr<Communicator> make_nccl_communicator(Session& session, at::Device device);
decltype(Backend::make) nccl_factory() { return make_nccl_communicator; }
#else
decltype(Backend::make) nccl_factory() { return nullptr; }
#endif

}  // namespace lockstep
