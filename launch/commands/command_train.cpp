// lockstep train
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/stop_signals.h"
#include "lockstep/distributed/run/trainer.h"
#include "lockstep/distributed/setup/image_store.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/default_set.h"
#include "lockstep/launch/commands/run_output.h"
#include "lockstep/launch/commands/run_plan.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/launcher/restarts.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"
#include "lockstep/launch/terminal/lr_finder_report.h"
#include "lockstep/launch/terminal/progress_lines.h"

namespace lockstep {
namespace {

struct TrainOptions {
  std::string config_file, run_directory;
  std::vector<std::string> assignments;
  bool resume = false, dry_run = false, print_config = false, find_lr = false;
  LrFinderOptions finder;
};

Config read_config(const TrainOptions& options) {
  return options.config_file.empty() ? parse_config("", options.assignments, "--set")
                                     : load_config(options.config_file, options.assignments);
}

// "a.b" and its value as JSON, for every key.
void add_fields(const nlohmann::ordered_json& json,
                const std::string& prefix,
                std::vector<PreflightField>& fields) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      add_fields(value, prefix + key + ".", fields);
    } else {
      fields.push_back({prefix + key,
                        value.dump(),
                        "start every rank with the same configuration file and options"});
    }
  }
}

void compare_programs(const TrainOptions& options, const Config& config, Session& session) {
  Config comparable = config;
  // Hosts may keep the same data in different places: its digest is compared later.
  comparable.data.file = config.data.file.empty() ? "" : "(a file)";
  std::vector<PreflightField> fields;
  add_fields(nlohmann::ordered_json::parse(config_to_json(comparable)), "", fields);
  add_fields({{"--resume", options.resume},
              {"--dry-run", options.dry_run},
              {"--find-lr", options.find_lr},
              {"--find-lr-start", options.finder.start},
              {"--find-lr-end", options.finder.end},
              {"--find-lr-updates", options.finder.updates}},
             "",
             fields);
  fields.push_back(
      {"the program", sha256_file("/proc/self/exe"), "start the same build on every rank"});
  compare_ranks(session.control(), fields);
}

void check_model_and_batch_size(const Config& config, Session& session) {
  agree(session.control(), "checking the model and the batch size", [&] {
    check_model(config.model.name, config.model.stochastic_depth);
    if (config.batch_size < session.topology().world_size) {
      throw_error(ExitCode::kUsage,
                  "batch_size is {} for {} ranks, so some would have nothing to do: raise "
                  "batch_size (it counts all ranks together) or start fewer ranks",
                  config.batch_size,
                  session.topology().world_size);
    }
  });
}

// Before the run directory is opened to go on with, which drops what the resumed run will tell
// anew.
void refuse_other_images(const std::string& run_directory, const std::string& data_file) {
  if (const auto digest = newest_data_digest(run_directory))
    require_same_images(*digest, ImageFile(data_file).info());
}

int exit_code(const EndReport& end) {
  if (end.reason == EndReason::kInterrupted) return static_cast<int>(ExitCode::kTryAgain);
  if (end.reason == EndReason::kDiverged) return static_cast<int>(ExitCode::kInternal);
  return static_cast<int>(ExitCode::kOk);
}

DeviceChoice prepare_ranks(const TrainOptions& options, const Config& config, Session& session) {
  session.watchdog().set_default_timeout(
      std::chrono::duration<double>(config.distributed.timeout_seconds));
  compare_programs(options, config, session);
  check_model_and_batch_size(config, session);
  choose_threads(session);
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  return device;
}

std::string image_file(const Config& config, Session& session) {
  return config.data.file.empty() ? default_image_set(session) : config.data.file;
}

// For rank 0: without --run-dir a new folder, which no other job takes.
std::string run_directory(const TrainOptions& options, const Config& config) {
  return options.run_directory.empty() ? claim_run_directory(config.model.name)
                                       : options.run_directory;
}

// What a run's attempts have in common: there is one, unless it diverges and goes back.
struct RunPlace {
  DeviceChoice device;
  std::vector<std::string> devices;
  std::string data_file;
  std::string directory;            // rank 0's to name in the first attempt
  std::optional<ImageStore> store;  // read in the first attempt
  double seconds = 0;               // that earlier attempts took
};

// Trains until the run ends or diverges; from the newest checkpoint with `resume`, at its rates
// times `rate_factor`.
EndReport attempt(const TrainOptions& options,
                  const Config& config,
                  bool resume,
                  double rate_factor,
                  RunPlace& place,
                  Session& session) {
  TrainerOptions trainer_options;
  const bool is_root = session.topology().rank == 0;
  std::optional<RunOutput> output;
  agree_on_files(session.control(), "preparing the run directory", [&] {
    if (!is_root || options.dry_run) return;
    if (place.directory.empty()) place.directory = run_directory(options, config);
    if (resume) refuse_other_images(place.directory, place.data_file);
    output.emplace(place.directory,
                   config,
                   resume,
                   environment_json(session, place.device.backend, place.devices));
  });
  place.directory = session.control().broadcast(place.directory, 0, "naming the run directory");
  if (!place.store) place.store.emplace(session, config.data, place.data_file, place.device.device);
  if (output) {
    trainer_options.resume_from = std::exchange(output->checkpoint(), std::nullopt);
    if (trainer_options.resume_from)
      trainer_options.resume_from->state.plateau.factor *= rate_factor;
    for (const std::string& change : output->changes())
      trainer_options.notes.push_back("changed since the run was started last: " + change);
  }
  trainer_options.run_directory = place.directory;
  trainer_options.seconds_before = place.seconds;
  trainer_options.stop_requested = [stop_file = StopFile(place.directory), is_root]() mutable {
    return StopSignals::received() != 0 || (is_root && stop_file.is_there());
  };
  Trainer trainer = make_trainer(config,
                                 session,
                                 place.device,
                                 training_data(config.data, *place.store),
                                 std::move(trainer_options),
                                 output ? output->observers() : std::vector<TrainingObserver*>{});
  const EndReport end = options.dry_run ? trainer.dry_run() : trainer.run();
  if (options.dry_run) {
    agree(session.control(), "telling the plan", [&] {
      if (is_root)
        print_plan(trainer.plan(), config, *place.store, session.topology(), place.devices, end);
    });
  }
  // Its files are closed before any rank may leave.
  const auto files = session.control().watch_files("writing the report");
  output.reset();
  session.control().barrier("ending the run");
  place.seconds += end.seconds;
  return end;
}

// Halves the rate with each return to the same checkpoint.
class Rollbacks {
 public:
  // `saved`: the newest checkpoint's update; negative: there is none. Returns the factor of its
  // rates; 0: another try is of no use.
  double next(double saved) {
    constexpr int kMost = 5;
    if (saved < 0) return 0;
    if (saved > saved_) halvings_ = 0;
    saved_ = saved;
    return ++halvings_ > kMost ? 0 : std::ldexp(1.0, -halvings_);
  }

 private:
  double saved_ = -1;
  int halvings_ = 0;
};

int train(const TrainOptions& options, const Config& config, Session& session) {
  RunPlace place{.device = prepare_ranks(options, config, session)};
  place.devices = device_names(session, place.device);
  place.data_file = image_file(config, session);
  const bool is_root = session.topology().rank == 0;
  EndReport end = attempt(options, config, options.resume, 1.0, place, session);
  Rollbacks rollbacks;
  while (end.reason == EndReason::kDiverged &&
         config.optimizer.not_finite == NotFinite::kRollback) {
    const double saved =
        broadcast_number(session.control(),
                         is_root ? static_cast<double>(newest_saved_update(place.directory)) : 0,
                         0,
                         "where to go back to");
    const double factor = rollbacks.next(saved);
    if (factor == 0) {
      if (is_root) say("going back is of no use. {}\n", kDivergenceAdvice);
      break;
    }
    if (is_root)
      say("going back to update {}, at {} of its rates (optimizer.not_finite=rollback)\n",
          saved,
          factor);
    end = attempt(options, config, /*resume=*/true, factor, place, session);
  }
  return exit_code(end);
}

// The range test: no checkpoint, no weights, one file.
int find_learning_rate(const TrainOptions& options, const Config& given, Session& session) {
  Config config = given;
  // Losses, and what they suggest, at any number of ranks.
  if (config.distributed.batch_norm == BatchNormMode::kLocal)
    config.distributed.batch_norm = BatchNormMode::kSync;
  LrFinder finder(options.finder);
  const DeviceChoice device = prepare_ranks(options, config, session);
  const bool is_root = session.topology().rank == 0;
  std::optional<RunDirectory> directory;
  agree_on_files(session.control(), "preparing the run directory", [&] {
    if (is_root) directory.emplace(run_directory(options, given), given, false);
  });
  ImageStore store(session, config.data, image_file(config, session), device.device);
  TrainerOptions trainer_options;
  trainer_options.stop_requested = [] { return StopSignals::received() != 0; };
  LrFinderLines lines(options.finder);
  Trainer trainer = make_trainer(
      config,
      session,
      device,
      training_data(config.data, store),
      std::move(trainer_options),
      is_root ? std::vector<TrainingObserver*>{&lines} : std::vector<TrainingObserver*>{});
  const bool finished = trainer.run_range_test(finder);
  agree_on_files(session.control(), "writing lr_finder.json", [&] {
    if (!is_root || !finished) return;
    write_file_durably(directory->file("lr_finder.json"), lr_finder_json(finder));
    say_result(
        "{}written to {}\n", lr_finder_words(finder, given), directory->file("lr_finder.json"));
  });
  if (is_root && !finished) say("interrupted: a range test keeps nothing; run it again\n");
  return finished ? 0 : static_cast<int>(ExitCode::kTryAgain);
}

int run_train(const TrainOptions& options, int* argc, char*** argv) {
  if (options.print_config) {
    const std::string text = config_to_json(read_config(options));
    if (launcher_rank() == 0) write_result(text);
    return 0;
  }
  tune_allocator();
  const StopSignals signals;
  release_stop_signals();  // what came while the program was loaded
  Config config;
  const auto prepare = [&] {
    config = read_config(options);
    if (!config.data.file.empty()) probe_image_file(config.data.file);
    if (options.find_lr) LrFinder check(options.finder);
  };
  const int code = run_in_session(argc, argv, prepare, [&](Session& session) {
    return options.find_lr ? find_learning_rate(options, config, session)
                           : train(options, config, session);
  });
  hold_stop_signals();  // the code is decided
  return code;
}

constexpr const char* kFooter =
    R"(Examples:
  lockstep train --set data.file=set.h5 --set model.name=resnet18 --run-dir runs/a
  mpirun -np 2 --bind-to none lockstep train launch/recipes/resnet20.json --set data.file=set.h5
  lockstep train --set data.file=set.h5 --find-lr --run-dir runs/a      which learning rate?
  lockstep train --set data.file=set.h5 --run-dir runs/a --resume       go on

Precedence: defaults, then CONFIG.json, then --set from left to right. `lockstep config` describes
every key.

Signals: USR1, USR2 or TERM to a rank (USR1 or USR2 to mpirun) saves at the next update and ends with
75, from the program's first moment on. Ctrl-C does not save: what the last checkpoint holds is kept.

Exit codes: 0 done, also by limits.* or early stopping; 64 command line or configuration; 65 bad
data; 70 internal fault, lost peer or divergence; 74 input or output; 75 saved on request or at
limits.wall_time_seconds: start again with --resume.
See also: lockstep config, evaluate, predict, report, doctor.)";

}  // namespace

void add_train_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* train = program.add_subcommand(
      "train", "Train a model; start it with mpirun or srun for several ranks");
  train->add_option("CONFIG.json", options->config_file, "Configuration [the defaults]");
  train
      ->add_option("--set",
                   options->assignments,
                   "Override one key, such as optimizer.learning_rate=0.05; repeatable")
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
  train->add_flag("--find-lr",
                  options->find_lr,
                  "Instead of training, raise the rate from update to update and suggest one");
  train->add_option("--find-lr-start", options->finder.start, "First rate of the range test [1e-5]")
      ->type_name("RATE");
  train->add_option("--find-lr-end", options->finder.end, "Last rate of the range test [10]")
      ->type_name("RATE");
  train
      ->add_option("--find-lr-updates",
                   options->finder.updates,
                   "Updates of the range test, over as many passes as they take [100]")
      ->type_name("N");
  for (const char* other : {"--resume", "--dry-run", "--print-config"})
    train->get_option("--find-lr")->excludes(other);
  for (const char* of_the_test : {"--find-lr-start", "--find-lr-end", "--find-lr-updates"})
    train->get_option(of_the_test)->needs("--find-lr");
  train->get_option("--dry-run")->excludes("--resume");
  train->footer(kFooter);
  train->get_option("--set")->take_all();
  train->callback([options, &run] {
    if (options->resume && options->run_directory.empty()) {
      throw CLI::ValidationError("--resume", "needs --run-dir: which run to go on with");
    }
    run = [options](int* argc, char*** argv) { return run_train(*options, argc, argv); };
  });
}

}  // namespace lockstep
