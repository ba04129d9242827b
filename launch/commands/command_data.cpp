// lockstep data import | download | synth | info
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>

#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/core/weights/class_names.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/data/image_set/image_source.h"
#include "lockstep/data/import/cifar_import.h"
#include "lockstep/data/import/download.h"
#include "lockstep/data/import/image_import.h"
#include "lockstep/data/import/synthetic.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct DataOptions {
  std::string source, output, name, url;
  bool force = false;
  SyntheticOptions synthetic;
  ImportOptions importing;
};

constexpr size_t kClassesShown = 20;

// Images of each class; with many classes the range.
std::string count_list(const std::vector<int64_t>& counts) {
  if (counts.size() <= kClassesShown) return fmt::format("{}", fmt::join(counts, " "));
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  return *least == *most ? fmt::format("{} each", *least) : fmt::format("{} to {}", *least, *most);
}

int print_info(const std::string& path) {
  probe_image_file(path);
  const ImageFile file(path);
  const ImageSetInfo& info = file.info();
  say_result("{}\n", terminal_word(path));
  say_result("  images      {} training, {} test, {} x {} x {} (channels, height, width)\n",
             info.count(Split::kTrain),
             info.count(Split::kTest),
             info.channels,
             info.height,
             info.width);
  say_result("  classes     {}: {}\n", info.num_classes(), class_list(info.class_names));
  for (Split split : {Split::kTrain, Split::kTest}) {
    std::vector<int64_t> counts(static_cast<size_t>(info.num_classes()));
    for (int32_t label : file.read_labels(split)) ++counts[static_cast<size_t>(label)];
    say_result("  per class   {}: {}\n", to_string(split), count_list(counts));
  }
  say_result(
      "  mean, std   {:.4f} / {:.4f}\n", fmt::join(info.mean, " "), fmt::join(info.std, " "));
  say_result("  source      {}\n", terminal_word(info.source));
  say_result("  digest      {}\n", info.digest);
  verify_blocks(file, 0, 1);
  say_result("  verified    every block of images has its digest\n");
  return 0;
}

// Prints how much of something is done, to stderr.
std::function<void(int64_t, int64_t)> percent_printer(const std::string& name) {
  return [name, last = -1](int64_t done, int64_t total) mutable {
    const int percent = total > 0 ? static_cast<int>(100 * done / total) : 0;
    if (percent == last) return;
    last = percent;
    if (isatty(STDERR_FILENO)) {
      write_complaint(
          fmt::format("\r{}: {} %  {}", terminal_word(name), percent, percent == 100 ? "\n" : ""));
    } else if (percent % 10 == 0) {
      complain("{}: {} %\n", name, percent);
    }
  };
}

int import_set(const DataOptions& options) {
  // Small sets are done before anybody wonders.
  constexpr int64_t kManyPictures = 2000;
  ImportOptions importing = options.importing;
  importing.overwrite = options.force;
  importing.tell = [](const std::string& line) { complain("{}\n", line); };
  importing.progress = [print = percent_printer("pictures")](int64_t done, int64_t total) {
    if (total >= kManyPictures) print(done, total);
  };
  import_images(options.source, options.output, importing);
  return print_info(options.output);
}

int download(const DataOptions& options) {
  DownloadSource source = known_download(options.name);
  if (!options.url.empty()) source.url = options.url;
  check_file_destination(options.output, options.force);
  // A name that nobody else gives: a file of the user's is neither added to nor removed.
  const std::string archive = options.output + ".lockstep-download.tar.gz";
  download_file(source, archive, percent_printer(source.name));
  import_cifar(archive, options.output);
  std::filesystem::remove(archive);
  return print_info(options.output);
}

void add_import_command(CLI::App& data, const std::shared_ptr<DataOptions>& options, Run& run) {
  ImportOptions& importing = options->importing;
  CLI::App* command = data.add_subcommand(
      "import", "Import folders of pictures, or the files of MNIST, Fashion-MNIST or CIFAR");
  command
      ->add_option(
          "SOURCE",
          options->source,
          "Folder of class folders with pictures, or with IDX or .bin files; a .tar.gz of .bin")
      ->required();
  command->add_option("OUT.h5", options->output, "The file to write")->required();
  command->add_option(
      "--size",
      importing.size,
      "Side of the images, 28 to 224 [the files' own if squares of one size, else 32]");
  command->add_option(
      "--channels", importing.channels, "Pictures: 1 for grey, 3 for colour [1 when all are grey]");
  command->add_option("--test-fraction",
                      importing.test_fraction,
                      "Pictures without a test folder: share of each class for the test [0.2]");
  command->add_option("--seed", importing.seed, "Pictures: draws the test share")
      ->capture_default_str();
  command->add_flag("--skip-unreadable",
                    importing.skip_unreadable,
                    "Pictures: import the rest when some cannot be read");
  command
      ->add_option("--classes",
                   importing.class_names,
                   "MNIST's files: names of the classes [by the folder's name]")
      ->check(CLI::IsMember({"digits", "fashion"}));
  command->add_flag("--force", options->force, "Replace an existing file");
  command->footer(
      R"(Examples:
  lockstep data import flowers flowers.h5 --size 64      flowers/CLASS/picture.png or .jpg
  lockstep data import pets pets.h5 --size 224           pets/train/CLASS/..., pets/test/CLASS/...
  lockstep data import FashionMNIST/raw fashion.h5       train-images-idx3-ubyte[.gz] and the others
  lockstep data import cifar-10-binary.tar.gz cifar10.h5

The layout is recognised, in folders around it too, and told; what can be read in two ways is refused.
Exit codes: 0 done; 64 command line or the file exists; 65 a picture or file that cannot be used;
74 input or output.
See also: docs/guide.md; lockstep data info, which every import ends with.)");
  command->callback(
      [options, &run] { run = [options](int*, char***) { return import_set(*options); }; });
}

}  // namespace

void add_data_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<DataOptions>();
  CLI::App* data = program.add_subcommand("data", "Make and inspect image sets (HDF5)");
  data->require_subcommand(1);

  add_import_command(*data, options, run);

  CLI::App* fetch =
      data->add_subcommand("download", "Download and import a known set: cifar10, cifar100");
  fetch->footer(R"(Example: lockstep data download cifar10 cifar10.h5

The archive is kept beside the output while it is fetched, so that a broken download goes on when
the command is started again; it is removed at the end.
Exit codes: 0 done; 64 command line or the file exists; 65 another archive than expected; 74 network,
input or output.)");
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
  synth->footer(R"(Example: lockstep data synth set.h5 --train 2000 --test 500

Classes that have to be learnt, by seed: for trying things out, not for accuracies.
Exit codes: 0 done, 64 command line or the file exists, 74 input or output.)");
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
  info->footer(R"(Reads every image once and compares its digest.
Exit codes: 0 whole; 64 command line; 65 damaged or foreign; 74 cannot be read.)");
  info->add_option("FILE.h5", options->source, "The file")->required();
  info->callback(
      [options, &run] { run = [options](int*, char***) { return print_info(options->source); }; });
  data->footer(
      R"(Examples:
  lockstep data import pictures set.h5 --size 64
  lockstep data info set.h5

Exit codes: 0 done; 64 command line; 65 bad data; 74 input or output.
See also: docs/data_format.md, the file's format.)");
}

}  // namespace lockstep
