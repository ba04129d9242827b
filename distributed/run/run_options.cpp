#include "lockstep/distributed/run/run_options.h"

#include <nlohmann/json.hpp>

#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/setup/norm_groups.h"

namespace lockstep {

TrainingStepOptions make_training_step_options(const Config& config, const ImageClassifier& model) {
  return {.seed = static_cast<uint64_t>(config.seed),
          .accumulation_steps = config.distributed.accumulation_steps,
          .cut = batch_cut(config, has_learning_norms(model)),
          .clip_gradient_norm = config.optimizer.clip_gradient_norm,
          .gradient_dtype = config.distributed.gradient_dtype == GradientDtype::kBf16
                                ? at::kBFloat16
                                : at::kFloat};
}

EpochBatchesOptions make_epoch_batches_options(const Config& config, const BatchFormat& format) {
  return {.batch_size = config.batch_size,
          .seed = static_cast<uint64_t>(config.seed),
          .prefetch_batches = config.data.prefetch_batches,
          .augmentation = config.data.augmentation,
          .format = format};
}

RunControlOptions make_run_control_options(const Config& config, int64_t updates_per_epoch) {
  return {.epochs = config.epochs,
          .updates_per_epoch = updates_per_epoch,
          .base_learning_rate = base_learning_rate(config),
          .schedule = config.lr_schedule,
          .early_stopping = config.early_stopping,
          .checkpoint_every_steps = config.checkpoint.every_steps,
          .checkpoint_epoch_min_seconds = config.checkpoint.epoch_min_seconds,
          .limit_steps = config.limits.steps};
}

RunFilesOptions make_run_files_options(const Config& config,
                                       const ImageSetInfo& info,
                                       const std::string& directory) {
  RunFilesOptions options{.directory = directory,
                          .metadata = {{"format", "pt"},
                                       {"model", config.model.name},
                                       {"num_classes", std::to_string(info.num_classes())},
                                       {"image_channels", std::to_string(info.channels)},
                                       {"image_size", std::to_string(info.height)},
                                       {"class_names", nlohmann::json(info.class_names).dump()},
                                       {"mean", nlohmann::json(info.mean).dump()},
                                       {"std", nlohmann::json(info.std).dump()},
                                       {"data_digest", info.digest},
                                       {"config", config_to_json(config)}},
                          .config_json = config_to_json(config),
                          .data_digest = info.digest,
                          .keep_checkpoints = config.checkpoint.keep};
  const double decay = config.optimizer.ema_decay;
  if (decay > 0) options.metadata["ema_decay"] = nlohmann::json(decay).dump();
  return options;
}

}  // namespace lockstep
