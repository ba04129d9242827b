// Opens an untrusted image set in a child process first, so that a file crafted to crash the HDF5
// library cannot crash the run.
#pragma once

#include <string>

namespace lockstep {

// Forks a child with an address-space limit and a time limit that opens `path` as an ImageFile, and
// reports as the child saw it: throws the same Error, or Error(kBadData) when the child crashed or
// hung. Call before MPI_Init and before any thread starts.
void probe_image_file(const std::string& path);

}  // namespace lockstep
