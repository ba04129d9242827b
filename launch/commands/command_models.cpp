// lockstep models [NAME]
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_profile.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct ModelsOptions {
  std::string name, stem = name_of(ModelStem::kAutomatic), head = name_of(ModelHead::kFull);
  int64_t classes = 10, channels = 3, size = 32;
  ModelConfig model;
};

ModelProfile profile(const std::string& name, const ModelsOptions& options) {
  const auto model = find_model(name).make(
      model_options(options.model, options.classes, options.channels, options.size));
  const at::Tensor image = at::empty({1, options.channels, options.size, options.size})
                               .contiguous(at::MemoryFormat::ChannelsLast);
  return profile_model(*model, image);
}

std::string image_text(const ModelsOptions& options) {
  return fmt::format("{} x {} x {} images, {} classes",
                     options.channels,
                     options.size,
                     options.size,
                     options.classes);
}

double megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }
double millions(int64_t count) { return static_cast<double>(count) / 1e6; }

constexpr const char* kMeaning =
    "Multiply-adds: of convolutions and linear layers, one image, evaluation. Memory: float32 "
    "activations for\n"
    "each image of a batch: what backward needs (training), the most at once (evaluation); bf16 "
    "takes half.\n";

std::string list_models(const ModelsOptions& options) {
  std::string text = fmt::format("For {}:\n\n", image_text(options));
  text += fmt::format("{:<13} {:>12} {:>13} {:>12} {:>12}\n",
                      "model",
                      "parameters",
                      "multiply-adds",
                      "training",
                      "evaluation");
  for (const ModelEntry& entry : registered_models()) {
    ModelProfile p;
    try {
      p = profile(entry.name, options);
    } catch (const Error&) {
      text += fmt::format("{:<13} needs larger images\n", entry.name);
      continue;
    }
    text += fmt::format("{:<13} {:>12} {:>11.1f} M {:>9.2f} MB {:>9.2f} MB  {}\n",
                        entry.name,
                        p.parameters,
                        millions(p.multiply_adds),
                        megabytes(p.training_bytes),
                        megabytes(p.evaluation_bytes),
                        entry.description);
  }
  return text + "\n" + kMeaning;
}

std::string describe_model(const ModelsOptions& options) {
  const ModelProfile p = profile(options.name, options);
  std::string text = fmt::format("{}: {}\nFor {}:\n\n",
                                 options.name,
                                 find_model(options.name).description,
                                 image_text(options));
  text += fmt::format("{:<28} {:>11}  {:<20} {:<16} {:>13}\n",
                      "layer",
                      "parameters",
                      "weight",
                      "output",
                      "multiply-adds");
  for (const LayerProfile& layer : p.layers) {
    text += fmt::format("{:<28} {:>11}  {:<20} {:<16} {:>13}\n",
                        layer.name,
                        layer.parameters,
                        fmt::format("{}", fmt::join(layer.weight, " x ")),
                        fmt::format("{}", fmt::join(layer.output, " x ")),
                        layer.multiply_adds == 0 ? "" : std::to_string(layer.multiply_adds));
  }
  return text +
         fmt::format(
             "\n{} parameters, {:.1f} million multiply-adds; {:.2f} MB an image in training, "
             "{:.2f} MB in evaluation\n\n{}",
             p.parameters,
             millions(p.multiply_adds),
             megabytes(p.training_bytes),
             megabytes(p.evaluation_bytes),
             kMeaning);
}

}  // namespace

void add_models_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<ModelsOptions>();
  CLI::App* models = program.add_subcommand("models", "List the models, or the layers of one");
  models->add_option(
      "NAME", options->name, "A model, whose layers are listed [all models, a line each]");
  const auto number = [&](const char* flag,
                          int64_t& value,
                          const char* help,
                          int64_t least,
                          int64_t most) {
    models->add_option(flag, value, help)->capture_default_str()->check(CLI::Range(least, most));
  };
  number("--classes", options->classes, "Number of classes", 1, 100000);
  number("--channels", options->channels, "Channels of the images", 1, 3);
  number("--size", options->size, "Height and width of the images, in pixels", 8, 1024);
  const auto choice = [&](const char* flag,
                          std::string& value,
                          const char* help,
                          const std::vector<std::string>& choices) {
    models->add_option(flag, value, help)->capture_default_str()->check(CLI::IsMember(choices));
  };
  choice("--stem", options->stem, "As model.stem", names_of<ModelStem>());
  choice("--head", options->head, "As model.head", names_of<ModelHead>());
  models->footer(
      R"(Examples:
  lockstep models --size 64 --classes 5         every model, for such images
  lockstep models resnet18                      its layers

Exit codes: 0 done; 64 command line or unknown model; 74 output.
See also: lockstep config model, the keys that choose and shape one.)");
  models->callback([=, &run] {
    options->model.stem = value_called<ModelStem>(options->stem);
    options->model.head = value_called<ModelHead>(options->head);
    run = [=](int*, char***) {
      write_result(options->name.empty() ? list_models(*options) : describe_model(*options));
      return 0;
    };
  });
}

}  // namespace lockstep
