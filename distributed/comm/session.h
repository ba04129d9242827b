// One rank's membership in a job: everything that training needs of whatever started the ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/comm/shared_memory.h"
#include "lockstep/distributed/comm/topology.h"
#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// MpiSession: ranks are processes, started by mpirun or srun. run_in_process: ranks are threads of
// this process. Order of life: the Watchdog, then the session, then everything that communicates.
// A rank uses its session from one thread.
class Session {
 public:
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  virtual const Topology& topology() const = 0;
  virtual Watchdog& watchdog() = 0;
  virtual ControlChannel& control() = 0;
  // Of what connects the ranks: "Open MPI v4.1.4, …".
  virtual std::string library_version() const = 0;

  // Memory of the host, made once for all its ranks. Collective: Error(kInputOutput) on
  // every rank where a host has too little, naming data.cache=stream as the way out.
  virtual std::unique_ptr<SharedMemory> share_memory(int64_t bytes) = 0;

  // A channel for tensors on `device`, of its own and over all ranks, by a backend of backends.h.
  // Collective. Throws Error(kUsage) for a name that this build or this kind of session lacks.
  std::unique_ptr<Communicator> make_communicator(std::string_view backend, at::Device device);

 protected:
  Session() = default;
};

}  // namespace lockstep
