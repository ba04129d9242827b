#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/mpi_internal.h"

namespace lockstep {

std::unique_ptr<Communicator> MpiSession::make_mpi_communicator(at::Device device) {
  return lockstep::make_mpi_communicator(*impl_, device);
}

std::unique_ptr<Communicator> MpiSession::make_nccl_communicator(at::Device device) {
#ifdef LOCKSTEP_WITH_NCCL
  return lockstep::make_nccl_communicator(*impl_, device);
#else
  throw_error(ExitCode::kUsage,
              "this build has no NCCL (device {}): set distributed.backend=mpi, or build with CUDA "
              "and NCCL",
              device.str());
#endif
}

}  // namespace lockstep
