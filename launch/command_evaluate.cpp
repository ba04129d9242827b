// lockstep evaluate
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "core/config_io.h"
#include "core/error.h"
#include "core/model_registry.h"
#include "core/safetensors.h"
#include "core/weights.h"
#include "data/probe.h"
#include "data/split.h"
#include "distributed/image_store.h"
#include "distributed/preflight.h"
#include "distributed/trainer_setup.h"
#include "distributed/validator.h"
#include "launch/commands.h"
#include "launch/console.h"
#include "launch/environment.h"
#include "launch/session_runner.h"

namespace lockstep {
namespace {

struct EvaluateOptions {
  std::string source, data, split = "test", weights = "best", device = "auto";
  bool json = false;
};

// Weights with what they were trained as, from their metadata.
struct TrainedModel {
  std::string path;
  SafetensorsFile file;
  Config config;
  ModelOptions options;
  std::vector<float> mean, std;
};

const std::string& metadata(const TrainedModel& trained, const char* key) {
  const auto it = trained.file.metadata.find(key);
  if (it == trained.file.metadata.end()) {
    throw_error(ExitCode::kBadData,
                "{} has no '{}' in its metadata: only weights written by `lockstep train` say what "
                "they were trained as",
                trained.path,
                key);
  }
  return it->second;
}

TrainedModel load_trained(const EvaluateOptions& options) {
  TrainedModel trained;
  const std::filesystem::path source(options.source);
  trained.path = std::filesystem::is_directory(source)
                     ? (source / (options.weights + ".safetensors")).string()
                     : options.source;
  if (!std::filesystem::exists(trained.path)) {
    throw_error(ExitCode::kInputOutput,
                "{} does not exist: give a run directory that has finished an epoch, or a "
                ".safetensors file",
                trained.path);
  }
  trained.file = load_safetensors(trained.path);
  try {
    trained.config = parse_config(metadata(trained, "config"), {}, trained.path);
    const auto number = [&](const char* key) { return std::stoll(metadata(trained, key)); };
    trained.options = model_options(trained.config.model,
                                    number("num_classes"),
                                    number("image_channels"),
                                    number("image_size"));
    trained.mean = nlohmann::json::parse(metadata(trained, "mean")).get<std::vector<float>>();
    trained.std = nlohmann::json::parse(metadata(trained, "std")).get<std::vector<float>>();
  } catch (const Error& error) {
    throw Error(ExitCode::kBadData, error.what());
  } catch (const std::exception& error) {
    throw_error(ExitCode::kBadData, "{} has unreadable metadata: {}", trained.path, error.what());
  }
  // How it was trained, not where.
  trained.config.device = options.device;
  trained.config.distributed = DistributedConfig{};
  trained.config.data.cache = DataConfig{}.cache;
  return trained;
}

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
  const auto channels = static_cast<size_t>(info.channels);
  if (trained.mean.size() != channels || trained.std.size() != channels) {
    throw_error(ExitCode::kBadData,
                "{} has {} means and {} standard deviations in its metadata for {} channels",
                trained.path,
                trained.mean.size(),
                trained.std.size(),
                channels);
  }
}

int evaluate_on(const EvaluateOptions& options, const TrainedModel& trained, MpiSession& session) {
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
  std::optional<FlatParameters> parameters;
  agree(session.control(), "loading the weights", [&] {
    check_fits(trained, info);
    model = model_on_device(config, info, device.device);
    parameters.emplace(*model, flat_options(config, format));
    import_weights(*model, *parameters, trained.file.tensors, trained.path);
  });
  model->eval();
  // The run's own normalisation, not this file's.
  info.mean = trained.mean;
  info.std = trained.std;
  const bool test = options.split == "test";
  const Split split = test ? Split::kTest : Split::kTrain;
  std::vector<int64_t> indices(static_cast<size_t>(info.count(Split::kTest)));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  if (!test) {
    indices = stratified_split(store.labels(Split::kTrain),
                               config.data.validation_fraction,
                               static_cast<uint64_t>(config.data.split_seed))
                  .validation;
  }
  const auto communicator = make_communicator(session, device);
  const EvaluationResult result = evaluate(*model,
                                           store.source(),
                                           info,
                                           store.labels(split),
                                           split,
                                           indices,
                                           format,
                                           config.validation.batch_size,
                                           *communicator);
  if (session.topology().rank != 0) return 0;
  if (options.json) {
    const nlohmann::ordered_json line = {{"model", config.model.name},
                                         {"split", options.split},
                                         {"loss", result.loss},
                                         {"accuracy", result.accuracy},
                                         {"correct", result.correct},
                                         {"images", result.images}};
    say("{}\n", line.dump());
  } else {
    say("{} ({}) on the {} split of {}: loss {:.4f}, accuracy {:.2f} % ({} of {})\n",
        config.model.name,
        trained.path,
        options.split,
        options.data,
        result.loss,
        100 * result.accuracy,
        result.correct,
        result.images);
  }
  return 0;
}

int run_evaluate(const EvaluateOptions& options, int* argc, char*** argv) {
  tune_allocator();
  TrainedModel trained;
  const auto prepare = [&] {
    trained = load_trained(options);
    probe_image_file(options.data);
  };
  return run_in_session(argc, argv, prepare, [&](MpiSession& session) {
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
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  evaluate->add_flag("--json", options->json, "One JSON object instead of a sentence");
  evaluate->callback([options, &run] {
    run = [options](int* argc, char*** argv) { return run_evaluate(*options, argc, argv); };
  });
}

}  // namespace lockstep
