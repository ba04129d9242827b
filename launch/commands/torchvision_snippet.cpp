#include "lockstep/launch/commands/torchvision_snippet.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lockstep/core/models/layers.h"

namespace lockstep {
namespace {

// The line that gives torchvision's model our first layers or head; empty where it has them.
std::string adaptation(const TrainedModel& trained) {
  const ModelOptions& options = trained.options;
  const bool imagenet_stem = models::uses_imagenet_stem(options);
  const std::string geometry = imagenet_stem ? "7, stride=2, padding=3" : "3, padding=1";
  const std::string first =
      fmt::format("torch.nn.Conv2d({}, 64, {}, bias=False)", options.image_channels, geometry);
  const bool other_first_layer = !imagenet_stem || options.image_channels != 3;
  const std::string& name = trained.config.model.name;
  std::string lines;
  if (name.starts_with("vgg")) {
    if (options.image_channels != 3) {
      lines += fmt::format("model.features[0] = torch.nn.Conv2d({}, 64, 3, padding=1)\n",
                           options.image_channels);
    }
    if (options.head == ModelHead::kCompact) {
      lines += fmt::format(
          "model.avgpool, model.classifier = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(512, "
          "{})\n",
          options.num_classes);
    }
    return lines;
  }
  const bool googlenet = name == "googlenet_bn";
  if (other_first_layer)
    lines += fmt::format("model.conv1{} = {}\n", googlenet ? ".conv" : "", first);
  if (!imagenet_stem)
    lines += fmt::format("model.maxpool{} = torch.nn.Identity()\n", googlenet ? "1" : "");
  return lines;
}

}  // namespace

std::string torchvision_snippet(const TrainedModel& trained, const std::string& path) {
  const std::string& name = trained.config.model.name;
  // Those with torchvision's widths: not the CIFAR ResNets.
  const bool wide_resnet = name == "resnet18" || name == "resnet34" || name == "resnet50" ||
                           name == "resnet101" || name == "resnet152";
  if (!wide_resnet && !name.starts_with("vgg") && name != "googlenet_bn") return {};
  const std::string make =
      name == "googlenet_bn" ? fmt::format("googlenet(num_classes={}, init_weights=False)",
                                           trained.options.num_classes)
                             : fmt::format("{}(num_classes={})", name, trained.options.num_classes);
  return fmt::format(
      "import torch, torchvision\n"
      "from safetensors.torch import load_file\n"
      "model = torchvision.models.{}\n"
      "{}"
      "model.load_state_dict(load_file({}))\n"
      "model.eval()\n",
      make,
      adaptation(trained),
      nlohmann::json(path).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace lockstep
