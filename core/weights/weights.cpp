#include "lockstep/core/weights/weights.h"

#include <torch/nn/module.h>

#include <map>

#include <fmt/ranges.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// Where each named tensor of the module lives: float32 masters for parameters, the buffers
// themselves.
NamedTensors places(const torch::nn::Module& module, const FlatParameters& parameters) {
  std::map<std::string, at::Tensor> masters;
  for (const FlatEntry& entry : parameters.entries()) masters.emplace(entry.name, entry.master);
  NamedTensors found;
  for (const auto& item : module.named_parameters())
    found.emplace_back(item.key(), masters.at(item.key()));
  for (const auto& item : module.named_buffers()) found.emplace_back(item.key(), item.value());
  return found;
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

// What does not fit, a line each; of many alike a few and their number.
class Faults {
 public:
  void add(const char* kind, const std::string& fault) { by_kind_[kind].push_back(fault); }
  bool empty() const { return by_kind_.empty(); }

  std::string text() const {
    constexpr size_t kMostNamed = 5;
    std::string lines;
    for (const auto& [kind, faults] : by_kind_) {
      const size_t named = faults.size() > kMostNamed + 1 ? kMostNamed : faults.size();
      for (size_t i = 0; i < named; ++i) lines += "\n  " + faults[i];
      if (named < faults.size())
        lines += fmt::format("\n  and {} more {}", faults.size() - named, kind);
    }
    return lines;
  }

 private:
  std::map<std::string, std::vector<std::string>> by_kind_;
};

constexpr const char* kMissing = "are missing";
constexpr const char* kForeign = "are not part of the model";
constexpr const char* kOther = "have another shape or kind of numbers";

const char* kind_of_numbers(const at::Tensor& tensor) {
  return tensor.is_floating_point() ? "floating-point numbers" : "whole numbers";
}

}  // namespace

NamedTensors export_weights(const torch::nn::Module& module, const FlatParameters& parameters) {
  return host_copies(places(module, parameters));
}

void import_weights(torch::nn::Module& module,
                    FlatParameters& parameters,
                    const NamedTensors& tensors,
                    const std::string& source) {
  std::map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  const auto wanted = places(module, parameters);
  Faults faults;
  for (const auto& [name, place] : wanted) {
    const auto it = given.find(name);
    if (it == given.end()) {
      faults.add(kMissing, fmt::format("'{}' is missing", name));
      continue;
    }
    if (it->second.sizes() != place.sizes()) {
      faults.add(kOther,
                 fmt::format("'{}' has shape {}, the model wants {}",
                             name,
                             shape_text(it->second),
                             shape_text(place)));
    } else if (it->second.is_floating_point() != place.is_floating_point()) {
      faults.add(kOther,
                 fmt::format("'{}' holds {}, the model wants {}",
                             name,
                             kind_of_numbers(it->second),
                             kind_of_numbers(place)));
    }
    given.erase(it);
  }
  for (const auto& [name, tensor] : given)
    faults.add(kForeign, fmt::format("'{}' is not part of the model", name));
  if (!faults.empty())
    throw_error(ExitCode::kBadData, "{} does not fit the model:{}", source, faults.text());
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  for (const auto& [name, place] : wanted) place.copy_(by_name.at(name));
  parameters.refresh_leaves();
}

}  // namespace lockstep
