#include "lockstep/core/weights/weights.h"

#include <torch/nn/module.h>

#include <map>

#include <fmt/ranges.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// Where each named tensor of the module lives: float32 masters for parameters, the buffers
// themselves.
std::vector<std::pair<std::string, at::Tensor>> places(const torch::nn::Module& module,
                                                       const FlatParameters& parameters) {
  std::map<std::string, at::Tensor> masters;
  for (const FlatEntry& entry : parameters.entries()) masters.emplace(entry.name, entry.master);
  std::vector<std::pair<std::string, at::Tensor>> found;
  for (const auto& item : module.named_parameters())
    found.emplace_back(item.key(), masters.at(item.key()));
  for (const auto& item : module.named_buffers()) found.emplace_back(item.key(), item.value());
  return found;
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

const char* kind_of_numbers(const at::Tensor& tensor) {
  return tensor.is_floating_point() ? "floating-point numbers" : "whole numbers";
}

}  // namespace

NamedTensors export_weights(const torch::nn::Module& module, const FlatParameters& parameters) {
  NamedTensors tensors;
  for (const auto& [name, place] : places(module, parameters)) {
    // A copy always: training goes on while files are written.
    tensors.emplace_back(name, place.detach().to(at::kCPU).clone(at::MemoryFormat::Contiguous));
  }
  return tensors;
}

void import_weights(torch::nn::Module& module,
                    FlatParameters& parameters,
                    const NamedTensors& tensors,
                    const std::string& source) {
  std::map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  const auto wanted = places(module, parameters);
  std::vector<std::string> faults;
  for (const auto& [name, place] : wanted) {
    const auto it = given.find(name);
    if (it == given.end()) {
      faults.push_back(fmt::format("'{}' is missing", name));
      continue;
    }
    if (it->second.sizes() != place.sizes()) {
      faults.push_back(fmt::format("'{}' has shape {}, the model wants {}",
                                   name,
                                   shape_text(it->second),
                                   shape_text(place)));
    } else if (it->second.is_floating_point() != place.is_floating_point()) {
      faults.push_back(fmt::format("'{}' holds {}, the model wants {}",
                                   name,
                                   kind_of_numbers(it->second),
                                   kind_of_numbers(place)));
    }
    given.erase(it);
  }
  for (const auto& [name, tensor] : given)
    faults.push_back(fmt::format("'{}' is not part of the model", name));
  if (!faults.empty()) {
    throw_error(
        ExitCode::kBadData, "{} does not fit the model:\n  {}", source, fmt::join(faults, "\n  "));
  }
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  for (const auto& [name, place] : wanted) place.copy_(by_name.at(name));
  parameters.refresh_leaves();
}

}  // namespace lockstep
