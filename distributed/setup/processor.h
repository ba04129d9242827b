// The first processor of this machine, as Linux describes it.
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// A field of /proc/cpuinfo, such as "model name" or "flags"; empty where there is none.
std::string processor_field(std::string_view name);

}  // namespace lockstep
