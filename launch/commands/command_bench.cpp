// lockstep bench
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/stopwatch.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/data/loading/batch_cut.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/run_options.h"
#include "lockstep/distributed/setup/arithmetic.h"
#include "lockstep/distributed/setup/graph_use.h"
#include "lockstep/distributed/setup/image_store.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/training/classification_loss.h"
#include "lockstep/distributed/training/statistics_exchange.h"
#include "lockstep/distributed/training/training_step.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/commands/timeline.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct BenchOptions {
  std::vector<std::string> models;
  std::vector<std::string> precisions;  // names of Precision
  std::vector<std::string> assignments;
  std::string batch_norm = name_of(DistributedConfig{}.batch_norm), data, trace;
  int64_t batch = 128, steps = 40, warmup = 5, repetitions = 5;
  bool json = false, force = false;
};

// Where a benchmark's batches come from: one random batch over and over, or the loader with
// augmentation.
class BatchSource {
 public:
  BatchSource(const BenchOptions& options,
              const BatchFormat& format,
              ImageStore* store,
              const Topology& topology,
              int64_t num_batches,
              const BatchCut& cut) {
    const int64_t global = options.batch * topology.world_size;
    if (!store) {
      const IndexRange slice = slice_of_batch(global, cut, topology.rank, topology.world_size);
      fixed_.images = at::randn({slice.size(), 3, 32, 32})
                          .to(format.device, format.dtype)
                          .contiguous(format.channels_last ? at::MemoryFormat::ChannelsLast
                                                           : at::MemoryFormat::Contiguous);
      fixed_.labels = at::randint(10, {slice.size()}, at::kLong).to(format.device);
      fixed_.global_size = global;
      fixed_.first_position = slice.begin;
      return;
    }
    LoaderOptions loader;
    loader.format = format;
    loader.augmentation = AugmentationConfig{};
    std::vector<int64_t> all(static_cast<size_t>(store->info().count(Split::kTrain)));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    sampler_.emplace(all, global, 1, 0, cut);
    const int64_t whole = std::max<int64_t>(1, static_cast<int64_t>(all.size()) / global);
    loader_ = std::make_unique<BatchLoader>(
        store->source(),
        store->info(),
        store->labels(Split::kTrain),
        loader,
        num_batches,
        [this, whole, topology](int64_t i) {
          const IndexRange slice = sampler_->slice(i % whole, topology.rank, topology.world_size);
          return BatchRequest{.indices = sampler_->indices(i % whole, slice),
                              .global_size = sampler_->batch_size(i % whole),
                              .first_position = slice.begin};
        });
  }
  Batch next() { return loader_ ? loader_->next() : fixed_; }

 private:
  Batch fixed_;
  std::optional<EpochSampler> sampler_;
  std::unique_ptr<BatchLoader> loader_;
};

constexpr double kLearningRate = 1e-3;  // small: random labels must not lead to infinities

// What the random images look like: CIFAR-10's.
ImageSetInfo random_set() {
  ImageSetInfo info;
  info.channels = 3;
  info.height = info.width = 32;
  info.class_names.assign(10, "");
  return info;
}

// The configuration behind --set, without what bench has options of its own for.
Config read_config(const BenchOptions& options) {
  constexpr std::pair<std::string_view, std::string_view> kOwn[] = {
      {"model.name", "--model"},
      {"precision", "--precision"},
      {"batch_size", "--batch (images a rank)"},
      {"data.file", "--end-to-end"},
      {"distributed.batch_norm", "--batch-norm"}};
  constexpr std::string_view kNotLookedAt[] = {"epochs=",
                                               "data.augmentation",
                                               "data.validation_fraction=",
                                               "data.max_train_images=",
                                               "optimizer.ema_decay=",
                                               "lr_schedule",
                                               "early_stopping",
                                               "checkpoint",
                                               "validation",
                                               "limits",
                                               "logging"};
  for (const std::string& assignment : options.assignments) {
    if (assignment.starts_with("optimizer.learning_rate="))
      throw_error(ExitCode::kUsage,
                  "--set optimizer.learning_rate: bench has a rate of its own ({}), which changes "
                  "nothing about the speed: leave the key out",
                  kLearningRate);
    for (const std::string_view group : kNotLookedAt) {
      if (assignment.starts_with(group))
        throw_error(ExitCode::kUsage,
                    "--set {}: bench does not look at that: leave it out",
                    assignment.substr(0, assignment.find('=')));
    }
    for (const auto& [key, option] : kOwn) {
      if (assignment.starts_with(fmt::format("{}=", key)))
        throw_error(
            ExitCode::kUsage, "--set {}: bench has an option of its own for that, {}", key, option);
    }
  }
  return parse_config("", options.assignments, "--set");
}

void check_trace(const BenchOptions& options) {
  if (options.models.size() * options.precisions.size() > 1)
    throw_error(ExitCode::kUsage,
                "--trace writes one file: say one --model and one --precision with it");
  check_destination(options.trace, options.force);
}

// Updates are queued and collected as a run does it; returns their images.
int64_t run_steps(TrainingStep& step, BatchSource& batches, int64_t number) {
  int64_t images = 0;
  for (int64_t i = 0; i < number; ++i) {
    step.enqueue(batches.next(), i, kLearningRate);
    if (step.under_way() == step.max_under_way()) images += step.collect().images;
  }
  while (step.under_way() > 0) images += step.collect().images;
  return images;
}

// Images a second in each repetition, ascending.
std::vector<double> timed_rates(const BenchOptions& options,
                                TrainingStep& step,
                                BatchSource& batches,
                                ControlChannel& control) {
  run_steps(step, batches, options.warmup);
  std::vector<double> rates;
  for (int64_t repetition = 0; repetition < options.repetitions; ++repetition) {
    control.barrier("benchmark");
    const Stopwatch stopwatch;
    const int64_t images = run_steps(step, batches, options.steps);
    control.barrier("benchmark");
    rates.push_back(static_cast<double>(images) / stopwatch.seconds());
  }
  std::sort(rates.begin(), rates.end());
  return rates;
}

constexpr int64_t kTracedSteps = 5;

void tell_rates(const BenchOptions& options,
                const Config& config,
                int64_t world_size,
                const DeviceChoice& device,
                const std::vector<double>& rates) {
  const double median = rates[rates.size() / 2];
  if (options.json) {
    const nlohmann::ordered_json line = {
        {"model", config.model.name},
        {"precision", name_of(config.precision)},
        {"world_size", world_size},
        {"images_per_second", median},
        {"slowest", rates.front()},
        {"fastest", rates.back()},
        {"batch_per_rank", options.batch},
        {"input", options.data.empty() ? "in memory" : "end to end"},
        {"device", device.description}};
    write_result(line.dump() + "\n");
  } else {
    say_result("{:<12} {:<5} {:>2} ranks x {:<4} {:>9.0f} images/s  ({:.0f} to {:.0f})\n",
               config.model.name,
               name_of(config.precision),
               world_size,
               options.batch,
               median,
               rates.front(),
               rates.back());
  }
}

void bench_model(const BenchOptions& options,
                 const Config& given,
                 const std::string& name,
                 const std::string& precision,
                 ImageStore* store,
                 const DeviceChoice& device,
                 Session& session) {
  const Topology& topology = session.topology();
  Config config = given;
  config.model.name = name;
  config.precision = value_called<Precision>(precision);
  config.optimizer.learning_rate = kLearningRate;
  config.distributed.batch_norm = value_called<BatchNormMode>(options.batch_norm);
  set_arithmetic(config);
  const BatchFormat format = batch_format(config, device.device);

  const auto gradients = session.make_communicator(device.backend, device.device);
  const auto statistics = config.distributed.batch_norm == BatchNormMode::kSync
                              ? session.make_communicator(device.backend, device.device)
                              : nullptr;
  const auto exchange = statistics ? make_statistics_exchange(*statistics) : nullptr;
  std::shared_ptr<ImageClassifier> model;
  agree(session.control(), "making the model", [&] {
    model = model_on_device(config, store ? store->info() : random_set(), device.device);
  });
  model->train();
  FlatParameters parameters(*model, flat_options(config, format));
  const auto optimizer = make_optimizer(config.optimizer, parameters);
  TrainingStepOptions step_options = make_training_step_options(config, *model);
  agree(session.control(), "choosing how steps are launched", [&] {
    step_options.graphs = records_steps(config, device.device, gradients->backend(), false);
  });
  TrainingStep step({.model = *model,
                     .parameters = parameters,
                     .optimizer = *optimizer,
                     .communicator = *gradients,
                     .exchange = exchange.get()},
                    classification_loss(*model, config.optimizer.label_smoothing),
                    step_options);
  const bool traced = !options.trace.empty();
  const int64_t timed_steps = options.warmup + options.steps * options.repetitions;
  BatchSource batches(options,
                      format,
                      store,
                      topology,
                      timed_steps + (traced ? kTracedSteps : 0),
                      step_options.cut);

  const std::vector<double> rates = timed_rates(options, step, batches, session.control());
  std::string timeline;
  if (traced) {
    const auto steps = [&] { run_steps(step, batches, kTracedSteps); };
    if (topology.rank == 0) {
      timeline = chrome_timeline(steps, device.device.is_cuda());
    } else {
      steps();
    }
  }
  agree(session.control(), "telling the rates", [&] {
    if (topology.rank != 0) return;
    tell_rates(options, config, topology.world_size, device, rates);
    if (traced) write_file_durably(options.trace, timeline);
  });
}

int bench(const BenchOptions& options, const Config& config, Session& session) {
  choose_threads(session);
  DeviceChoice device;
  agree(
      session.control(), "choosing the devices", [&] { device = choose_device(config, session); });
  std::optional<ImageStore> store;
  if (!options.data.empty()) store.emplace(session, config.data, options.data, device.device);
  if (session.topology().rank == 0) {
    if (!device.note.empty()) complain("{}\n", device.note);
    if (!options.json) say("{}\n", device.description);
  }
  for (const std::string& model : options.models) {
    for (const std::string& precision : options.precisions) {
      bench_model(options, config, model, precision, store ? &*store : nullptr, device, session);
    }
  }
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = program.add_subcommand(
      "bench", "Time training steps; start it with mpirun for several ranks");
  command->add_option("--model", options->models, "Models [resnet20 resnet18]")->type_name("NAME");
  command->add_option("--precision", options->precisions, "fp32, tf32, bf16 [bf16 fp32]")
      ->check(CLI::IsMember(names_of<Precision>()));
  command
      ->add_option("--set",
                   options->assignments,
                   "Configuration of model, optimizer, device and data, such as model.head=compact")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command->add_option("--batch", options->batch, "Images a rank and step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--steps", options->steps, "Timed steps a repetition")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--warmup", options->warmup, "Steps before the first")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command
      ->add_option("--repetitions", options->repetitions, "Repetitions; their median is reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--batch-norm", options->batch_norm, "What batch norm normalises over")
      ->capture_default_str()
      ->check(CLI::IsMember(names_of<BatchNormMode>()));
  command
      ->add_option("--end-to-end",
                   options->data,
                   "Read, augment and load this image set instead of random images in memory")
      ->type_name("FILE.h5");
  command
      ->add_option("--trace",
                   options->trace,
                   "Write what five more steps do, and when, to this file (Chrome's trace format)")
      ->type_name("FILE.json");
  command->add_flag("--force", options->force, "Replace an existing --trace file");
  command->add_flag("--json", options->json, "One JSON object a line");
  command->footer(
      R"(Examples:
  lockstep bench --model vgg16_bn --set model.head=compact
  OMP_NUM_THREADS=1 mpirun -np 2 lockstep bench --precision bf16 --batch 64 --json
  lockstep bench --end-to-end set.h5
  lockstep bench --model resnet20 --precision bf16 --trace steps.json

Exit codes: 0 done; 64 command line; 65, 74 the image set; 70 internal fault or lost peer; 74 output.
See also: docs/measurements.md, what was measured in this way.)");
  command->callback([options, &run] {
    if (options->models.empty()) options->models = {"resnet20", "resnet18"};
    if (options->precisions.empty()) options->precisions = {"bf16", "fp32"};
    run = [options](int* argc, char*** argv) {
      tune_allocator();
      Config config;
      const auto prepare = [&] {
        config = read_config(*options);
        if (!options->trace.empty()) check_trace(*options);
        if (!options->data.empty()) probe_image_file(options->data);
      };
      return run_in_session(
          argc, argv, prepare, [&](Session& session) { return bench(*options, config, session); });
    };
  });
}

}  // namespace lockstep
