// What can carry tensors between ranks: one row a backend.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// Whose tensors a backend carries.
enum class BackendDevices { kGpuOfItsOwn, kAnyGpu, kAny };

struct Backend {
  std::string_view name;  // of distributed.backend and of Communicator::backend()
  BackendDevices devices;
  // Collective. Null: this build does not have it.
  std::unique_ptr<Communicator> (*make)(Session& session, at::Device device);
  // Null: it needs no more of a session than its control channel.
  bool (*works_over)(const Session& session) = nullptr;
};

// The table: a new backend is a row of it. Those preferred by distributed.backend=auto come first.
std::vector<Backend> backends();

// "2.28.9"; empty in a build without NCCL.
std::string nccl_version();

// What the ranks' tensors are on: the same kind of place on all ranks.
struct TensorPlace {
  bool gpu = false;
  bool shared_gpu = false;    // with another rank
  std::string no_gpu_reason;  // for people: "device=cpu", "no NVIDIA driver found"
};

// The name of the backend that `wanted` (distributed.backend; "auto": the first that can) means
// there. Throws Error(kUsage) naming why it cannot be had and what to set instead.
std::string choose_backend(std::string_view wanted,
                           const Session& session,
                           const TensorPlace& place);

}  // namespace lockstep
