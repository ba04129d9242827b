// What a process computes with, as far as the bits of its results hang on it.
#pragma once

#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/setup/devices.h"

namespace lockstep {

// For the whole process. Allows TF32 for `tf32` alone (cuBLAS and cuDNN), and has cuDNN choose its
// algorithms by timing them, for every shape that comes. With distributed.reproducible cuDNN takes
// deterministic ones by its tables, and LibTorch one thread: where sums are cut for threads, their
// bits hang on how many there are.
void set_arithmetic(const Config& config);

// Instruction sets of our kernels, of LibTorch's and of the processor, LibTorch's version; the GPU
// and its libraries. Where two of these texts differ, reproducible runs may part.
std::string describe_arithmetic(const DeviceChoice& device);

}  // namespace lockstep
