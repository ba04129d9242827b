#include "lockstep/core/weights/wrapper_prefix.h"

#include <algorithm>
#include <set>

namespace lockstep {

WrapperPrefix find_wrapper_prefix(const std::map<std::string, at::Tensor>& own,
                                  const std::map<std::string, at::Tensor>& given) {
  std::set<std::string> tried;
  for (const auto& [name, tensor] : given) {
    for (size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1)) {
      const std::string prefix = name.substr(0, dot + 1);
      if (!own.contains(name.substr(dot + 1)) || !tried.insert(prefix).second) continue;
      const auto wrapped = std::ranges::count_if(
          own, [&](const auto& item) { return given.contains(prefix + item.first); });
      if (2 * wrapped <= static_cast<int64_t>(own.size())) continue;
      const auto count = std::ranges::count_if(
          given, [&](const auto& item) { return item.first.starts_with(prefix); });
      return {prefix, static_cast<size_t>(count)};
    }
  }
  return {};
}

std::map<std::string, at::Tensor> without_prefix(const std::map<std::string, at::Tensor>& given,
                                                 const std::string& prefix) {
  std::map<std::string, at::Tensor> bare;
  for (const auto& [name, tensor] : given) bare.emplace(name.substr(prefix.size()), tensor);
  return bare;
}

}  // namespace lockstep
