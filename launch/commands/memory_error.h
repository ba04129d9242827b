// Memory that ends, whatever throws for it.
#pragma once

#include <c10/util/Exception.h>

#include <string>

namespace lockstep {

// "out of memory" with the bytes that were asked for. Empty: the error is another one. LibTorch's
// allocator for CPUs throws its general error, which says so in words alone.
std::string lack_of_memory(const c10::Error& error);

}  // namespace lockstep
