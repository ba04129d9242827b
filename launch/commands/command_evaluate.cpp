// lockstep evaluate
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/data/image_set/train_validation_split.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/image_store.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/setup/validation_batch.h"
#include "lockstep/distributed/training/evaluation.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/commands/trained_model.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct EvaluateOptions {
  std::string source, data, split = "test", weights = "best";
  std::string device = name_of(DeviceKind::kAutomatic);
  bool json = false;
};

void check_fits(const TrainedModel& trained, const ImageSetInfo& info) {
  const bool fits = info.num_classes() == trained.options.num_classes &&
                    info.channels == trained.options.image_channels &&
                    info.height == trained.options.image_size && info.width == info.height;
  if (!fits) {
    throw_error(
        ExitCode::kBadData,
        "{} holds {} classes of {} x {} x {} images, {} was trained on {} classes of {} x {} x {}",
        info.path,
        info.num_classes(),
        info.channels,
        info.height,
        info.width,
        trained.path,
        trained.options.num_classes,
        trained.options.image_channels,
        trained.options.image_size,
        trained.options.image_size);
  }
}

// The images of the chosen split, as indices into the file's test or training images.
std::vector<int64_t> images_of(const EvaluateOptions& options,
                               const Config& config,
                               const ImageStore& store,
                               ControlChannel& control) {
  const bool test = options.split == "test";
  std::vector<int64_t> indices(static_cast<size_t>(store.info().count(Split::kTest)));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  if (!test) {
    indices = stratified_split(store.labels(Split::kTrain),
                               config.data.validation_fraction,
                               static_cast<uint64_t>(config.data.split_seed))
                  .validation;
  }
  agree(control, "choosing the images", [&] {
    if (!indices.empty()) return;
    if (test) {
      throw_error(
          ExitCode::kUsage, "{} has no test images: choose --split validation", options.data);
    }
    throw_error(ExitCode::kUsage,
                "the run held no images out for validation (data.validation_fraction={}): choose "
                "--split test",
                config.data.validation_fraction);
  });
  return indices;
}

void tell(const EvaluateOptions& options,
          const TrainedModel& trained,
          const EvaluationResult& result) {
  const std::string& name = trained.config.model.name;
  if (options.json) {
    const nlohmann::ordered_json line = {{"model", name},
                                         {"split", options.split},
                                         {"loss", result.loss},
                                         {"accuracy", result.accuracy},
                                         {"correct", result.correct},
                                         {"images", result.images}};
    write_console(line.dump() + "\n");
  } else {
    say("{} ({}) on the {} split of {}: loss {:.4f}, accuracy {:.2f} % ({} of {})\n",
        name,
        trained.path,
        options.split,
        options.data,
        result.loss,
        100 * result.accuracy,
        result.correct,
        result.images);
  }
}

int evaluate_on(const EvaluateOptions& options, TrainedModel& trained, Session& session) {
  const Config& config = trained.config;
  choose_threads(session);
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  ImageStore store(session, config.data, options.data);
  ImageSetInfo info = store.info();
  set_math_mode(config.precision);
  const BatchFormat format = batch_format(config, device.device);

  std::shared_ptr<ImageClassifier> model;
  agree(session.control(), "loading the weights", [&] {
    check_fits(trained, info);
    model = restore_model(trained, format);
    trained.file.tensors.clear();  // the model has its own
  });
  // The run's own normalisation, not this file's.
  info.mean = trained.mean;
  info.std = trained.std;
  const Split split = options.split == "test" ? Split::kTest : Split::kTrain;
  const std::vector<int64_t> indices = images_of(options, config, store, session.control());
  const auto communicator = session.make_communicator(device.backend, device.device);
  const ValidationBatch batch =
      choose_validation_batch(config, *model, info, format, session, /*before=*/0);
  const EvaluationImages images{.source = store.source(),
                                .info = info,
                                .labels = store.labels(split),
                                .split = split,
                                .indices = indices};
  const EvaluationResult result = evaluate(*model, images, format, batch.size, *communicator);
  if (session.topology().rank == 0) tell(options, trained, result);
  return 0;
}

int run_evaluate(const EvaluateOptions& options, int* argc, char*** argv) {
  tune_allocator();
  TrainedModel trained;
  const auto prepare = [&] {
    trained = load_trained(options.source, options.weights);
    trained.config.device = value_called<DeviceKind>(options.device);
    probe_image_file(options.data);
  };
  return run_in_session(argc, argv, prepare, [&](Session& session) {
    return evaluate_on(options, trained, session);
  });
}

}  // namespace

void add_evaluate_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* evaluate =
      program.add_subcommand("evaluate", "Loss and accuracy of trained weights; also under mpirun");
  evaluate
      ->add_option(
          "WEIGHTS_OR_RUN_DIR", options->source, "A run directory, or a .safetensors file of one")
      ->required();
  evaluate->add_option("--data", options->data, "Image set (HDF5)")->required()->type_name("FILE");
  evaluate->add_option("--split", options->split, "test, or the run's own validation part")
      ->capture_default_str()
      ->check(CLI::IsMember({"test", "validation"}));
  evaluate->add_option("--weights", options->weights, "Of a run directory: best or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"best", "last"}));
  evaluate->add_option("--device", options->device, "auto, cpu or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember(names_of<DeviceKind>()));
  evaluate->add_flag("--json", options->json, "One JSON object instead of a sentence");
  evaluate->footer(
      R"(Examples:
  lockstep evaluate runs/a --data set.h5
  mpirun -np 2 --bind-to none lockstep evaluate runs/a --data set.h5 --split validation --json

Images are normalised as the run's were, every image counts once at any number of ranks.
Exit codes: 0 done; 64 command line; 65 bad or unfitting data or weights; 70 internal fault or lost
peer; 74 input or output.
See also: lockstep predict, for pictures; lockstep data info, for what a set holds.)");
  evaluate->callback([options, &run] {
    run = [options](int* argc, char*** argv) { return run_evaluate(*options, argc, argv); };
  });
}

}  // namespace lockstep
