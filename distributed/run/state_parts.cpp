#include "lockstep/distributed/run/state_parts.h"

#include <torch/nn/module.h>

#include <string>

namespace lockstep {
namespace {

// A flat tensor in the layout of FlatParameters::master(), cut into one part a parameter.
void add_flat(std::vector<StatePart>& parts,
              const std::string& prefix,
              const at::Tensor& flat,
              const FlatParameters& parameters,
              bool frozen_too = true) {
  for (const FlatEntry& entry : parameters.entries()) {
    if (entry.frozen && !frozen_too) continue;
    parts.push_back({prefix + entry.name, flat.narrow(0, entry.offset, entry.count)});
  }
}

}  // namespace

std::vector<StatePart> replicated_state(const torch::nn::Module& model,
                                        FlatParameters& parameters,
                                        Optimizer& optimizer,
                                        const WeightAverage* average) {
  std::vector<StatePart> parts;
  add_flat(parts, "", parameters.master(), parameters);
  std::vector<std::string> averaged_buffers;
  for (const auto& item : model.named_buffers()) {
    const at::Tensor& buffer = item.value();
    if (buffer.is_floating_point()) averaged_buffers.push_back(item.key());
    if (buffer.nbytes() % 4 == 0 && buffer.is_non_overlapping_and_dense())
      parts.push_back({item.key(), buffer});
  }
  for (const auto& [name, tensor] : optimizer.state()) {
    if (tensor.numel() == parameters.num_elements()) {
      add_flat(parts, name + "/", tensor, parameters);
    } else {
      parts.push_back({name, tensor});
    }
  }
  if (average == nullptr) return parts;
  add_flat(parts, "average/", average->averages().front(), parameters);
  for (size_t i = 0; i < averaged_buffers.size(); ++i)
    parts.push_back({"average/" + averaged_buffers[i], average->averages()[i + 1]});
  return parts;
}

std::vector<StatePart> gradient_parts(FlatParameters& parameters) {
  std::vector<StatePart> parts;
  add_flat(parts, "gradient/", parameters.gradient(), parameters, /*frozen_too=*/false);
  return parts;
}

}  // namespace lockstep
