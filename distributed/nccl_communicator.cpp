#include "core/error.h"
#include "distributed/mpi_internal.h"
namespace lockstep {
std::unique_ptr<Communicator> make_nccl_communicator(MpiSession::Impl&, at::Device) { throw_error(ExitCode::kInternal, "x"); }
}
