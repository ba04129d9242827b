// lockstep data import | download | synth | info
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "core/error.h"
#include "data/cifar_import.h"
#include "data/download.h"
#include "data/image_file.h"
#include "data/image_source.h"
#include "data/probe.h"
#include "data/synthetic.h"
#include "launch/commands.h"

namespace lockstep {
namespace {

struct DataOptions {
  std::string source, output, name, url;
  bool force = false;
  SyntheticOptions synthetic;
};

int print_info(const std::string& path) {
  probe_image_file(path);
  const ImageFile file(path);
  const ImageSetInfo& info = file.info();
  fmt::print("{}\n", path);
  fmt::print("  images      {} training, {} test, {} x {} x {} (channels, height, width)\n",
             info.count(Split::kTrain),
             info.count(Split::kTest),
             info.channels,
             info.height,
             info.width);
  fmt::print("  classes     {}: {}\n", info.num_classes(), fmt::join(info.class_names, ", "));
  for (Split split : {Split::kTrain, Split::kTest}) {
    std::vector<int64_t> counts(static_cast<size_t>(info.num_classes()));
    for (int32_t label : file.read_labels(split)) ++counts[static_cast<size_t>(label)];
    fmt::print("  per class   {}: {}\n", to_string(split), fmt::join(counts, " "));
  }
  fmt::print(
      "  mean, std   {:.4f} / {:.4f}\n", fmt::join(info.mean, " "), fmt::join(info.std, " "));
  fmt::print("  source      {}\n", info.source);
  fmt::print("  digest      {}\n", info.digest);
  verify_blocks(file, 0, 1);
  fmt::print("  verified    every block of images has its digest\n");
  return 0;
}

int download(const DataOptions& options) {
  DownloadSource source = known_download(options.name);
  if (!options.url.empty()) source.url = options.url;
  if (!options.force && std::filesystem::exists(options.output)) {
    throw_error(ExitCode::kUsage,
                "{} exists already: give another name, or --force to replace it",
                options.output);
  }
  const std::string archive = options.output + ".tar.gz";
  int last = -1;
  download_file(source, archive, [&](int64_t done, int64_t total) {
    const int percent = total > 0 ? static_cast<int>(100 * done / total) : 0;
    if (percent == last) return;
    last = percent;
    if (isatty(STDERR_FILENO)) {
      fmt::print(stderr, "\r{}: {} %  ", source.name, percent);
    } else if (percent % 10 == 0) {
      fmt::print(stderr, "{}: {} %\n", source.name, percent);
    }
  });
  if (isatty(STDERR_FILENO)) fmt::print(stderr, "\n");
  import_images(archive, options.output, options.force);
  std::filesystem::remove(archive);
  return print_info(options.output);
}

}  // namespace

void add_data_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<DataOptions>();
  CLI::App* data = program.add_subcommand("data", "Make and inspect image sets (HDF5)");
  data->require_subcommand(1);

  CLI::App* importing =
      data->add_subcommand("import", "Import the CIFAR-10 or CIFAR-100 binary distribution");
  importing->add_option("SOURCE", options->source, "Folder with the .bin files, or the .tar.gz")
      ->required();
  importing->add_option("OUT.h5", options->output, "The file to write")->required();
  importing->add_flag("--force", options->force, "Replace an existing file");
  importing->callback([options, &run] {
    run = [options](int*, char***) {
      import_images(options->source, options->output, options->force);
      return print_info(options->output);
    };
  });

  CLI::App* fetch =
      data->add_subcommand("download", "Download and import a known set: cifar10, cifar100");
  fetch->add_option("NAME", options->name, "cifar10 or cifar100")->required();
  fetch->add_option("OUT.h5", options->output, "The file to write")->required();
  fetch->add_option("--url",
                    options->url,
                    "Fetch the archive from here instead (its SHA-256 is checked all the same)");
  fetch->add_flag("--force", options->force, "Replace an existing file");
  fetch->callback(
      [options, &run] { run = [options](int*, char***) { return download(*options); }; });

  CLI::App* synth =
      data->add_subcommand("synth", "Make a synthetic set of 10 classes of 32x32 images");
  synth->add_option("OUT.h5", options->output, "The file to write")->required();
  synth->add_option("--train", options->synthetic.train_images, "Training images")
      ->capture_default_str()
      ->check(CLI::Range(10, 10000000));
  synth->add_option("--test", options->synthetic.test_images, "Test images")
      ->capture_default_str()
      ->check(CLI::Range(10, 10000000));
  synth->add_option("--seed", options->synthetic.seed, "Seed")->capture_default_str();
  synth->add_flag("--force", options->force, "Replace an existing file");
  synth->callback([options, &run] {
    run = [options](int*, char***) {
      write_synthetic_set(options->output, options->synthetic, options->force);
      return print_info(options->output);
    };
  });

  CLI::App* info = data->add_subcommand("info", "Describe and verify an image set");
  info->add_option("FILE.h5", options->source, "The file")->required();
  info->callback(
      [options, &run] { run = [options](int*, char***) { return print_info(options->source); }; });
}

}  // namespace lockstep
