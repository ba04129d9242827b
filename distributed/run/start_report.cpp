#include "lockstep/distributed/run/start_report.h"

#include <fmt/format.h>

#include "lockstep/core/config/config_io.h"

namespace lockstep {

StartReport describe_start(const Config& config,
                           const Topology& topology,
                           const DeviceChoice& device,
                           const TrainingData& data,
                           const FlatParameters& parameters) {
  StartReport report;
  report.world_size = topology.world_size;
  report.hosts = topology.host_names;
  report.backend = device.backend;
  report.device = device.description;
  report.precision = name_of(config.precision);
  report.model = config.model.name;
  report.parameters = parameters.num_parameters();
  report.config_digest = config_digest(config);
  report.data_digest = data.info.digest;
  report.num_classes = data.info.num_classes();
  report.train_images = static_cast<int64_t>(data.split.train.size());
  report.validation_images = static_cast<int64_t>(data.split.validation.size());
  report.test_images = data.info.count(Split::kTest);
  report.batch_size = config.batch_size;
  report.updates_per_epoch = updates_per_epoch(data, config.batch_size);
  report.epochs = config.epochs;
  report.ema_decay = config.optimizer.ema_decay;
  return report;
}

std::vector<std::string> start_notes(const Config& config,
                                     const InitialWeights& weights,
                                     int64_t num_frozen,
                                     const FlatParameters& parameters,
                                     const ValidationBatch& validation) {
  std::vector<std::string> notes(weights.notes);
  if (num_frozen > 0) {
    notes.push_back(fmt::format("frozen: {} ({} of {} parameters)",
                                config.model.freeze,
                                num_frozen,
                                parameters.num_parameters()));
    if (config.model.weights.empty())
      notes.emplace_back("model.weights is empty: what is frozen stays as the seed made it");
  }
  if (validation.bytes_per_image > 0) {
    notes.push_back(fmt::format(
        "validation.batch_size: {} images a rank (auto: {:.2f} MiB an image, {:.1f} GiB "
        "free for a rank)",
        validation.size,
        static_cast<double>(validation.bytes_per_image) / (1 << 20),
        static_cast<double>(validation.free_bytes) / (1 << 30)));
  }
  return notes;
}

}  // namespace lockstep
