#include "lockstep/core/models/model_registry.h"

#include <algorithm>
#include <iterator>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/suggestion.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/models/initialisation.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {

namespace models {
// The rows of each family, in the file of its classes.
std::vector<ModelEntry> resnets();
std::vector<ModelEntry> vggs();
std::vector<ModelEntry> googlenets();
std::vector<ModelEntry> airbenches();
}  // namespace models

const std::vector<ModelEntry>& registered_models() {
  static const std::vector<ModelEntry> kModels = [] {
    std::vector<ModelEntry> all;
    for (std::vector<ModelEntry> (*family)() : {
             models::resnets,
             models::vggs,
             models::googlenets,
             models::airbenches,
         }) {
      std::ranges::copy(family(), std::back_inserter(all));
    }
    return all;
  }();
  return kModels;
}

std::vector<ChoiceText> model_choices() {
  std::vector<ChoiceText> choices;
  for (const ModelEntry& entry : registered_models())
    choices.push_back({entry.name, entry.description});
  return choices;
}

const ModelEntry& find_model(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelEntry& entry : registered_models()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const std::string advice = did_you_mean(name, names);
  throw_error(ExitCode::kUsage,
              "unknown model {}{}",
              quote_for_message(name, '\''),
              advice.empty() ? ": `lockstep models` lists them all" : advice);
}

void check_model(const std::string& name, double stochastic_depth) {
  if (find_model(name).has_residual_blocks || stochastic_depth == 0) return;
  throw_error(ExitCode::kUsage,
              "model.stochastic_depth is {}, but {} has no residual blocks to skip: set it to 0 or "
              "choose a ResNet",
              stochastic_depth,
              name);
}

std::shared_ptr<ImageClassifier> make_model(const std::string& name,
                                            const ModelOptions& options,
                                            uint64_t seed) {
  check_model(name, options.stochastic_depth);
  auto model = find_model(name).make(options);
  initialise(*model, seed);
  return model;
}

}  // namespace lockstep
