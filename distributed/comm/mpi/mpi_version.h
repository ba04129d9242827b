// Which MPI the program runs with.
#pragma once

#include <string>

namespace lockstep {

// "Open MPI v4.1.4", "MPICH Version: 5.0.2". May be called before MPI is initialised and after its
// end.
std::string mpi_library_version();

}  // namespace lockstep
