// lockstep train
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "core/config_io.h"
#include "core/durable_file.h"
#include "core/error.h"
#include "core/sha256.h"
#include "data/probe.h"
#include "data/sampler.h"
#include "data/synthetic.h"
#include "distributed/image_store.h"
#include "distributed/preflight.h"
#include "distributed/stop_signals.h"
#include "distributed/trainer.h"
#include "launch/commands.h"
#include "launch/environment.h"
#include "launch/metrics_file.h"
#include "launch/progress_lines.h"
#include "launch/run_directory.h"
#include "launch/session_runner.h"
#include "launch/tensorboard_file.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  std::string config_file, run_directory;
  std::vector<std::string> assignments;
  bool resume = false, dry_run = false, print_config = false;
};

Config read_config(const TrainOptions& options) {
  return options.config_file.empty() ? parse_config("", options.assignments, "--set")
                                     : load_config(options.config_file, options.assignments);
}

// Without data.file: a small synthetic set, one file a host, kept for later runs.
std::string synthetic_set(MpiSession& session) {
  const std::string path =
      (fs::temp_directory_path() / fmt::format("lockstep-synthetic-{}.h5", getuid())).string();
  agree(session.control(), "making a synthetic set", [&] {
    if (session.topology().local_rank == 0 && !fs::exists(path))
      write_synthetic_set(path, {}, false);
  });
  if (session.topology().rank == 0)
    fmt::print("no data.file given: training on a synthetic set, {}\n", path);
  return path;
}

void compare_configurations(const Config& config, MpiSession& session) {
  const std::string same = "start every rank with the same configuration file and --set options";
  compare_ranks(session.control(),
                {{"configuration", config_digest(config), same},
                 {"program", sha256_file("/proc/self/exe"), "start the same build on every rank"}});
  agree(session.control(), "checking the batch size", [&] {
    if (config.batch_size < session.topology().world_size) {
      throw_error(ExitCode::kUsage,
                  "batch_size is {} for {} ranks, so some would have nothing to do: raise "
                  "batch_size (it counts all ranks together) "
                  "or start fewer ranks",
                  config.batch_size,
                  session.topology().world_size);
    }
  });
}

struct Observers {
  std::optional<ProgressLines> progress;
  std::optional<MetricsFile> metrics;
  std::optional<TensorBoardFile> tensorboard;

  std::vector<TrainingObserver*> all() {
    std::vector<TrainingObserver*> list;
    if (metrics) list.push_back(&*metrics);
    if (tensorboard) list.push_back(&*tensorboard);
    if (progress) list.push_back(&*progress);
    return list;
  }
};

// Rank 0's side of the run: its directory, the checkpoint it goes on from, who listens.
struct RootSide {
  std::optional<RunDirectory> directory;
  std::optional<CheckpointContents> checkpoint;
  Observers observers;

  RootSide(const TrainOptions& options, const Config& config, const std::string& environment) {
    observers.progress.emplace(options.dry_run ? "" : options.run_directory);
    if (options.dry_run) return;
    directory.emplace(options.run_directory, config, options.resume);
    if (options.resume) {
      checkpoint = load_newest_checkpoint(directory->path(), [](const std::string& warning) {
        fmt::print("warning: {}\n", warning);
      });
      if (!checkpoint)
        fmt::print("--resume: {} holds no saved state yet: starting afresh\n", directory->path());
    }
    write_file_durably(directory->file("environment.json"), environment);
    observers.metrics.emplace(directory->file("metrics.jsonl"),
                              checkpoint ? checkpoint->state.step : 0);
    if (config.logging.tensorboard) observers.tensorboard.emplace(directory->path());
  }
};

void print_plan(const Trainer& trainer,
                const Config& config,
                const ImageStore& store,
                MpiSession& session,
                const EndReport& end) {
  const StartReport& plan = trainer.plan();
  const Topology& topology = session.topology();
  fmt::print("plan\n  data     {} ({} MB of images a host, data.cache={})\n",
             store.info().path,
             store.host_bytes() >> 20,
             config.data.cache);
  fmt::print("  updates  {} an epoch, {} in all\n",
             plan.updates_per_epoch,
             plan.updates_per_epoch * plan.epochs);
  for (int rank = 0; rank < topology.world_size; ++rank) {
    const IndexRange slice = contiguous_part(config.batch_size, rank, topology.world_size);
    fmt::print(
        "  rank {}   on {}: {} images of each global batch of {}; {} MB resident after one "
        "update\n",
        rank,
        topology.host_names[static_cast<size_t>(topology.host_of_rank[static_cast<size_t>(rank)])],
        slice.size(),
        config.batch_size,
        end.peak_resident_bytes[static_cast<size_t>(rank)] >> 20);
  }
  fmt::print("dry run: one update took {:.2f} s; nothing was written\n", end.seconds);
}

int exit_code(const EndReport& end) {
  if (end.reason == "interrupted") return static_cast<int>(ExitCode::kTryAgain);
  if (end.reason == "diverged") return static_cast<int>(ExitCode::kInternal);
  return 0;
}

int train(const TrainOptions& given, const Config& config, MpiSession& session) {
  TrainOptions options = given;
  session.watchdog().set_default_timeout(
      std::chrono::duration<double>(config.distributed.timeout_seconds));
  choose_threads(session.topology());
  compare_configurations(config, session);
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  const std::string environment = environment_json(session, device);

  if (options.run_directory.empty())
    options.run_directory = default_run_directory(config.model.name);
  const bool is_root = session.topology().rank == 0;
  std::optional<RootSide> root;
  agree(session.control(), "preparing the run directory", [&] {
    if (is_root) root.emplace(options, config, environment);
  });
  const std::string file = config.data.file.empty() ? synthetic_set(session) : config.data.file;
  ImageStore store(session, config.data, file);
  agree(session.control(), "comparing the checkpoint with the data", [&] {
    if (root && root->checkpoint && root->checkpoint->data_digest != store.info().digest) {
      throw_error(ExitCode::kUsage,
                  "{} was trained on another image set (digest {}), {} has {}: resume with the "
                  "same data.file",
                  options.run_directory,
                  root->checkpoint->data_digest,
                  file,
                  store.info().digest);
    }
  });

  TrainingData data;
  data.info = store.info();
  data.train_labels = store.labels(Split::kTrain);
  data.test_labels = store.labels(Split::kTest);
  data.split = stratified_split(data.train_labels,
                                config.data.validation_fraction,
                                static_cast<uint64_t>(config.data.split_seed));
  limit_training_images(
      data.split, config.data.max_train_images, static_cast<uint64_t>(config.data.split_seed));
  data.source = &store.source();
  TrainerOptions trainer_options;
  trainer_options.run_directory = options.run_directory;
  trainer_options.dry_run = options.dry_run;
  if (root) trainer_options.resume_from = std::move(root->checkpoint);

  const StopSignals signals;
  Trainer trainer(config,
                  session,
                  device,
                  data,
                  std::move(trainer_options),
                  root ? root->observers.all() : std::vector<TrainingObserver*>{});
  const EndReport end = trainer.run();
  if (options.dry_run && is_root) print_plan(trainer, config, store, session, end);
  session.control().barrier("ending the run");
  return exit_code(end);
}

int run_train(const TrainOptions& options, int* argc, char*** argv) {
  tune_allocator();
  if (options.print_config) {
    fmt::print("{}", config_to_json(read_config(options)));
    return 0;
  }
  // Before MPI: a broken configuration or data file must not leave other ranks waiting for this
  // one.
  Config config;
  std::exception_ptr failure;
  try {
    config = read_config(options);
    if (!config.data.file.empty()) probe_image_file(config.data.file);
  } catch (const Error&) {
    failure = std::current_exception();
  }
  return run_in_session(
      argc, argv, [&](MpiSession& session) { return train(options, config, session); }, failure);
}

std::string key_help() {
  std::string text = "Configuration keys (JSON groups; --set takes them dotted):\n";
  for (const ConfigKeyHelp& key : config_keys()) {
    text += fmt::format(
        "  {} = {}\n      {} ({})\n", key.key, key.default_value, key.description, key.allowed);
  }
  return text;
}

}  // namespace

void add_train_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* train = program.add_subcommand(
      "train", "Train a model; start it with mpirun or srun for several ranks");
  train->add_option(
      "CONFIG.json", options->config_file, "Configuration; without one, the defaults");
  train->add_option("--set", options->assignments, "Overrides: key=value with a dotted key")
      ->type_name("KEY=VALUE")
      ->expected(1);
  train
      ->add_option(
          "--run-dir", options->run_directory, "Where the run is kept [runs/<model>-<date>-<time>]")
      ->type_name("DIR");
  train->add_flag(
      "--resume", options->resume, "Go on with the run in --run-dir from its newest checkpoint");
  train->add_flag("--dry-run",
                  options->dry_run,
                  "Build everything, run one update, print the plan, write nothing");
  train->add_flag(
      "--print-config", options->print_config, "Print the whole configuration and stop");
  train->footer(key_help);
  train->get_option("--set")->take_all();
  train->callback([options, &run] {
    if (options->resume && options->run_directory.empty()) {
      throw CLI::ValidationError("--resume", "needs --run-dir: which run to go on with");
    }
    run = [options](int* argc, char*** argv) { return run_train(*options, argc, argv); };
  });
}

}  // namespace lockstep
