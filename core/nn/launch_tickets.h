// What the blocks of a launch count themselves with, to know which one is the last. Only in builds
// with CUDA.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep {

// The current stream's, int32 [count] or more: zero before a launch, which leaves them so. A
// stream's launches follow one another. None is ever freed: recorded launches go on using theirs,
// and CUDA may be gone when static objects go.
at::Tensor launch_tickets(at::Device device, int64_t count);

}  // namespace lockstep
