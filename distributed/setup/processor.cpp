#include "lockstep/distributed/setup/processor.h"

#include <fstream>

namespace lockstep {

// Lines are "name<tabs>: value".
std::string processor_field(std::string_view name) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.find_last_not_of("\t :", colon) + 1 != name.size() ||
        !line.starts_with(name))
      continue;
    const size_t value = line.find_first_not_of(' ', colon + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

}  // namespace lockstep
