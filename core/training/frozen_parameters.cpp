#include "lockstep/core/training/frozen_parameters.h"

#include <algorithm>
#include <set>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/name_prefix.h"
#include "lockstep/core/base/suggestion.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

constexpr const char* kBackbone = "backbone";

std::vector<std::string> split_names(const std::string& names) {
  std::vector<std::string> found;
  for (size_t begin = 0; begin <= names.size();) {
    const size_t comma = std::min(names.find(',', begin), names.size());
    std::string name = names.substr(begin, comma - begin);
    const size_t first = name.find_first_not_of(' ');
    if (first == std::string::npos) {
      throw_error(ExitCode::kUsage,
                  "model.freeze is {}, with a name missing: give names separated by commas",
                  quote_for_message(names, '"'));
    }
    found.push_back(name.substr(first, name.find_last_not_of(' ') + 1 - first));
    begin = comma + 1;
  }
  return found;
}

bool is_backbone(const ImageClassifier& model, const std::string& parameter) {
  const auto holds = [&](const std::string& name) { return lies_under(parameter, name); };
  return std::ranges::none_of(model.last_layers(), holds) &&
         std::ranges::none_of(model.auxiliary_heads(), holds);
}

// "layer1", "layer1.0", "layer1.0.conv1", "layer1.0.conv1.weight", …
std::vector<std::string> known_names(const std::vector<std::string>& parameters) {
  std::set<std::string> names = {kBackbone};
  for (const std::string& parameter : parameters) {
    for (size_t dot = parameter.find('.'); dot != std::string::npos;
         dot = parameter.find('.', dot + 1)) {
      names.insert(parameter.substr(0, dot));
    }
    names.insert(parameter);
  }
  return {names.begin(), names.end()};
}

}  // namespace

int64_t freeze_parameters(ImageClassifier& model, const std::string& names) {
  const auto parameters = model.named_parameters();
  for (const std::string& name : split_names(names)) {
    bool matched = false;
    for (const auto& item : parameters) {
      const bool frozen =
          name == kBackbone ? is_backbone(model, item.key()) : lies_under(item.key(), name);
      if (frozen) item.value().set_requires_grad(false);
      matched = matched || frozen;
    }
    if (!matched) {
      const std::string advice = did_you_mean(name, known_names(parameters.keys()));
      throw_error(ExitCode::kUsage,
                  "model.freeze names {}, which no parameter of the model begins with{}",
                  quote_for_message(name, '\''),
                  advice.empty() ? ": `lockstep models NAME` lists its layers" : advice);
    }
  }
  int64_t num_frozen = 0;
  bool any_trained = false;
  for (const auto& item : parameters) {
    any_trained = any_trained || item.value().requires_grad();
    if (!item.value().requires_grad()) num_frozen += item.value().numel();
  }
  if (!any_trained) {
    throw_error(ExitCode::kUsage,
                "model.freeze is {}, which freezes the whole model: leave something to train",
                quote_for_message(names, '"'));
  }
  model.apply([](torch::nn::Module& module) {
    auto* norm = module.as<BatchNorm>();
    if (norm && !norm->weight.requires_grad() && !norm->bias.requires_grad()) norm->freeze();
  });
  return num_frozen;
}

}  // namespace lockstep
