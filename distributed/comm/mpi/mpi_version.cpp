#include "lockstep/distributed/comm/mpi/mpi_version.h"

#include <mpi.h>

#include <algorithm>

namespace lockstep {

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  // Open MPI's goes on with ", package: …"; MPICH's is a table, whose first line says it.
  std::string version(text, static_cast<size_t>(length));
  version.resize(std::min({version.find(", package"), version.find('\n'), version.size()}));
  const auto both_spaces = [](char a, char b) { return a == ' ' && b == ' '; };
  version.erase(std::unique(version.begin(), version.end(), both_spaces), version.end());
  return version;
}

}  // namespace lockstep
