// NCCL: sums over GPUs.
#pragma once

#include "lockstep/distributed/comm/backends.h"

namespace lockstep {

// A GPU for every rank, unless NCCL_MULTI_RANK_GPU_ENABLE=1 lets ranks share one.
BackendDevices nccl_devices();

// Null in a build without NCCL. The id travels by the session's control channel.
decltype(Backend::make) nccl_factory();

}  // namespace lockstep
