// lockstep export
#include <fmt/format.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/torchvision_snippet.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct ExportOptions {
  std::string source, output, weights = "best";
  bool force = false;
};

// What was written, and how Python reads it.
std::string about(const TrainedModel& trained,
                  const std::string& output,
                  size_t num_bytes,
                  const std::map<std::string, std::string>& metadata) {
  const ModelOptions& model = trained.options;
  std::string text =
      fmt::format("{}: {} for {} classes of {} x {} x {} images, {} tensors, {:.1f} MB\n",
                  output,
                  trained.config.model.name,
                  model.num_classes,
                  model.image_channels,
                  model.image_size,
                  model.image_size,
                  trained.file.tensors.size(),
                  static_cast<double>(num_bytes) / 1e6);
  const std::string snippet = torchvision_snippet(trained, output);
  if (snippet.empty()) {
    return text +
           "torchvision has no such model; safetensors.torch.load_file gives the tensors by name\n";
  }
  return text + fmt::format(
                    "in Python:\n\n{}\nwhich takes images as float32 [N, {}, {}, {}], normalised: "
                    "(x / 255 - mean) / std, mean {}, std {}\n",
                    snippet,
                    model.image_channels,
                    model.image_size,
                    model.image_size,
                    metadata.at("mean"),
                    metadata.at("std"));
}

int run_export(const ExportOptions& options) {
  check_destination(options.output, options.force);
  TrainedModel trained = load_trained(options.source, options.weights);
  restore_model(trained, batch_format(trained.config, at::kCPU));  // throws unless all fits
  // Paths are nobody's business but their owner's.
  trained.config.data.file.clear();
  trained.config.model.weights.clear();
  auto metadata = trained.file.metadata;
  metadata["format"] = "pt";
  metadata["config"] = config_to_json(trained.config);
  const std::string bytes = safetensors_bytes(trained.file.tensors, metadata);
  write_file_durably(options.output, bytes);
  const std::string words = about(trained, options.output, bytes.size(), metadata);
  // Standard output then holds the file alone.
  is_standard_output(options.output) ? complain("{}", words) : say_result("{}", words);
  return 0;
}

}  // namespace

void add_export_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = program.add_subcommand(
      "export", "Write a run's weights as one safetensors file that torchvision takes");
  command->add_option("RUN", options->source, "A run directory, or a .safetensors file of one")
      ->required();
  command->add_option("OUT.safetensors", options->output, "The file to write")->required();
  command->add_option("--weights", options->weights, "Of a run directory: best or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"best", "last"}));
  command->add_flag("--force", options->force, "Replace an existing file");
  command->footer(
      R"(Example:
  lockstep export runs/a resnet18.safetensors

The file has torchvision's names; for models that torchvision has, the Python that loads it is
printed. Model, class names, image size, mean and deviation are among its metadata, paths are not.
Exit codes: 0 done; 64 command line; 65 bad weights; 74 input or output.
See also: lockstep predict and evaluate, which take the file in place of a run directory.)");
  command->callback(
      [options, &run] { run = [options](int*, char***) { return run_export(*options); }; });
}

}  // namespace lockstep
