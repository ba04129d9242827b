#include "lockstep/launch/commands/torchvision_snippet.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace lockstep {

std::string torchvision_snippet(const TrainedModel& trained, const std::string& path) {
  const ModelEntry& entry = find_model(trained.config.model.name);
  if (entry.torchvision == nullptr) return {};
  const TorchvisionModel model = entry.torchvision(entry.name, trained.options);
  return fmt::format(
      "import torch, torchvision\n"
      "from safetensors.torch import load_file\n"
      "model = torchvision.models.{}\n"
      "{}"
      "model.load_state_dict(load_file({}))\n"
      "model.eval()\n",
      model.make,
      model.adaptation,
      nlohmann::json(path).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace lockstep
