// lockstep models [NAME]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "core/model_registry.h"
#include "launch/commands.h"

namespace lockstep {
namespace {

int64_t num_parameters(const ImageClassifier& model) {
  int64_t count = 0;
  for (const auto& parameter : model.parameters()) count += parameter.numel();
  return count;
}

int list_models(const ModelOptions& options) {
  fmt::print("{:<12} {:>12}  {}\n", "model", "parameters", "description");
  for (const ModelEntry& entry : registered_models()) {
    fmt::print(
        "{:<12} {:>12}  {}\n", entry.name, num_parameters(*entry.make(options)), entry.description);
  }
  return 0;
}

int describe_model(const std::string& name, const ModelOptions& options) {
  const auto model = make_model(name, options, 0);
  fmt::print("{} ({} classes, {} x {} images): {} parameters\n",
             name,
             options.num_classes,
             options.image_size,
             options.image_size,
             num_parameters(*model));
  for (const auto& item : model->named_parameters()) {
    fmt::print("  {:<36} {:>10}  [{}]\n",
               item.key(),
               item.value().numel(),
               fmt::join(item.value().sizes(), ", "));
  }
  return 0;
}

}  // namespace

void add_models_command(CLI::App& program, Run& run) {
  auto name = std::make_shared<std::string>();
  auto options = std::make_shared<ModelOptions>();
  CLI::App* models = program.add_subcommand("models", "List the models, or the parameters of one");
  models->add_option("NAME", *name, "A model");
  models->add_option("--classes", options->num_classes, "Number of classes")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  models->callback([=, &run] {
    run = [=](int*, char***) {
      return name->empty() ? list_models(*options) : describe_model(*name, *options);
    };
  });
}

}  // namespace lockstep
