// Names of parameters as paths: "layer1.0.conv1.weight".
#pragma once

#include <string>

namespace lockstep {

// Whether `name` is `prefix` or lies below it, whole components alone: "layer1.0.bn1" lies under
// "layer1" and "layer1.0", not under "layer".
inline bool lies_under(const std::string& name, const std::string& prefix) {
  return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.');
}

}  // namespace lockstep
