#include "lockstep/launch/commands/program_version.h"

#include <fmt/format.h>
#include <torch/version.h>

#include "lockstep/data/image_set/hdf5_file.h"
#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/comm/mpi/mpi_version.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/launch/run/environment.h"

namespace lockstep {

std::string program_version() {
  const auto or_none = [](const std::string& version) {
    return version.empty() ? std::string("not in this build") : version;
  };
  return fmt::format("lockstep {}\nLibTorch {}\nMPI      {}\nHDF5     {}\nNCCL     {}\nCUDA     {}",
                     lockstep_version(),
                     TORCH_VERSION,
                     mpi_library_version(),
                     hdf5_version(),
                     or_none(nccl_version()),
                     or_none(cuda_version()));
}

}  // namespace lockstep
