// lockstep evaluate
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/data/image_set/train_validation_split.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/arithmetic.h"
#include "lockstep/distributed/setup/image_store.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/setup/validation_batch.h"
#include "lockstep/distributed/training/evaluation.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/commands/set_matching.h"
#include "lockstep/launch/commands/trained_model.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct EvaluateOptions {
  std::string source, data, split = "test", weights = "best";
  std::string device = name_of(DeviceKind::kAutomatic);
  bool allow_other_data = false, json = false;
};

bool asks_for_test(const EvaluateOptions& options) { return options.split == "test"; }

// The images of the chosen split, as indices into the file's test or training images. `labels`: of
// these.
std::vector<int64_t> images_of(const EvaluateOptions& options,
                               const Config& config,
                               std::span<const int32_t> labels,
                               ControlChannel& control) {
  const bool test = asks_for_test(options);
  std::vector<int64_t> indices(labels.size());
  std::iota(indices.begin(), indices.end(), int64_t{0});
  if (!test) {
    indices =
        stratified_split(
            labels, config.data.validation_fraction, static_cast<uint64_t>(config.data.split_seed))
            .validation;
  }
  agree(control, "choosing the images", [&] {
    if (!indices.empty()) return;
    if (test) {
      throw_error(ExitCode::kUsage,
                  "{} has no test images: {}",
                  options.data,
                  config.data.validation_fraction > 0
                      ? "choose --split validation"
                      : "give --data one that has, since the run held none out for validation");
    }
    throw_error(ExitCode::kUsage,
                "the run held no images out for validation (data.validation_fraction={}): choose "
                "--split test",
                config.data.validation_fraction);
  });
  return indices;
}

// The set's labels as the weights' numbers of their classes. Says so where these are others.
std::vector<int32_t> matched_labels(std::vector<int32_t> labels,
                                    const std::optional<std::vector<int32_t>>& classes,
                                    const EvaluateOptions& options,
                                    const Session& session) {
  if (!classes) return labels;
  for (int32_t& label : labels) label = (*classes)[static_cast<size_t>(label)];
  if (session.topology().rank == 0 && !options.json) {
    say("{} has its classes in another order than the weights: they are matched by their names\n",
        options.data);
  }
  return labels;
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
    write_result(line.dump() + "\n");
  } else {
    say_result("{} ({}) on the {} split of {}: loss {}, accuracy {:.2f} % ({} of {})\n",
               name,
               trained.path,
               options.split,
               options.data,
               decimals(result.loss, 4),
               100 * result.accuracy,
               result.correct,
               result.images);
  }
}

int evaluate_on(const EvaluateOptions& options, TrainedModel& trained, Session& session) {
  const Config& config = trained.config;
  compare_ranks(session.control(),
                {{"the weights file",
                  trained.sha256,
                  "give every rank the same one, and none that a run is about to replace"},
                 {"--split", options.split, "start every rank with the same options"}});
  choose_threads(session);
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  if (session.topology().rank == 0 && !device.note.empty()) complain("{}\n", device.note);
  ImageStore store(session, config.data, options.data, device.device);
  ImageSetInfo info = store.info();
  set_arithmetic(config);
  const BatchFormat format = batch_format(config, device.device);

  std::shared_ptr<ImageClassifier> model;
  std::optional<std::vector<int32_t>> classes;
  agree(session.control(), "loading the weights", [&] {
    classes = match_set(trained, info);
    if (!asks_for_test(options) && !options.allow_other_data) require_own_set(trained, info);
    model = restore_model(trained, format);
    trained.file.tensors.clear();  // the model has its own
  });
  // The run's own normalisation, not this file's.
  info.mean = trained.mean;
  info.std = trained.std;
  const Split split = asks_for_test(options) ? Split::kTest : Split::kTrain;
  const std::vector<int32_t> labels =
      matched_labels(store.labels(split), classes, options, session);
  const std::vector<int64_t> indices = images_of(options, config, labels, session.control());
  const auto communicator = session.make_communicator(device.backend, device.device);
  const ValidationBatch batch =
      choose_validation_batch(config, *model, info, format, session, /*before=*/0);
  const EvaluationImages images{.source = store.source(),
                                .info = info,
                                .labels = labels,
                                .split = split,
                                .indices = indices,
                                .views = config.validation.views,
                                .fixed_batches = config.distributed.reproducible};
  const EvaluationResult result = evaluate(*model, images, format, batch.size, *communicator);
  agree(session.control(), "telling the result", [&] {
    if (session.topology().rank == 0) tell(options, trained, result);
  });
  return 0;
}

int run_evaluate(const EvaluateOptions& options, int* argc, char*** argv) {
  tune_allocator();
  TrainedModel trained;
  const auto prepare = [&] {
    trained = load_trained(options.source, options.weights);
    trained.config.device = value_called<DeviceKind>(options.device);
    probe_image_file(options.data);
    match_set(trained, ImageFile(options.data).info());  // at once: reading a set may take long
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
  evaluate->add_flag("--allow-other-data",
                     options->allow_other_data,
                     "Take the validation part of a set that the run was not trained on");
  evaluate->add_flag("--json", options->json, "One JSON object instead of a sentence");
  evaluate->footer(
      R"(Examples:
  lockstep evaluate runs/a --data set.h5
  mpirun -np 2 --bind-to none lockstep evaluate runs/a --data set.h5 --split validation --json

Images are normalised as the run's were, every image counts once at any number of ranks. The set's
classes are matched with the run's by their names. The validation part is that of the set that the
run was trained on; of another one it is refused without --allow-other-data.
Exit codes: 0 done; 64 command line; 65 bad or unfitting data or weights; 70 internal fault or lost
peer; 74 input or output.
See also: lockstep predict, for pictures; lockstep data info, for what a set holds.)");
  evaluate->callback([options, &run] {
    run = [options](int* argc, char*** argv) { return run_evaluate(*options, argc, argv); };
  });
}

}  // namespace lockstep
