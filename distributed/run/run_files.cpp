#include "lockstep/distributed/run/run_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {

RunFiles::RunFiles(std::string directory,
                   const Config& config,
                   const ImageSetInfo& info,
                   ControlChannel& control)
    : directory_(std::move(directory)),
      config_(config),
      data_digest_(info.digest),
      metadata_{{"format", "pt"},
                {"model", config.model.name},
                {"num_classes", std::to_string(info.num_classes())},
                {"image_channels", std::to_string(info.channels)},
                {"image_size", std::to_string(info.height)},
                {"class_names", nlohmann::json(info.class_names).dump()},
                {"mean", nlohmann::json(info.mean).dump()},
                {"std", nlohmann::json(info.std).dump()},
                {"data_digest", info.digest},
                {"config", config_to_json(config)}},
      control_(control) {
  const double decay = config.optimizer.ema_decay;
  if (decay > 0) metadata_["ema_decay"] = nlohmann::json(decay).dump();
}

std::string RunFiles::path(const char* name) const {
  return (std::filesystem::path(directory_) / name).string();
}

void RunFiles::save(const ControlRecord& record,
                    const torch::nn::Module& model,
                    const FlatParameters& parameters,
                    Optimizer& optimizer,
                    WeightAverage* average) {
  if (directory_.empty() || !(record.save || record.is_best)) return;
  agree_on_files(control_, "saving the run", [&] {
    if (control_.rank() != 0) return;
    const NamedTensors weights = export_weights(model, parameters);
    NamedTensors averaged;
    with_average(average, [&] {
      if (average) averaged = export_weights(model, parameters);
    });
    const std::string bytes = safetensors_bytes(average ? averaged : weights, metadata_);
    if (record.is_best) write_file_durably(path("best.safetensors"), bytes);
    if (!record.save) return;
    write_file_durably(path("last.safetensors"), bytes);
    save_checkpoint(directory_,
                    {.model = weights,
                     .optimizer = export_optimizer(optimizer, parameters),
                     .average = averaged,
                     .state = record.state,
                     .config_json = config_to_json(config_),
                     .data_digest = data_digest_},
                    config_.checkpoint.keep,
                    &whole_checkpoints_);
  });
}

bool RunFiles::has_best(const ControlState& state) const {
  return !directory_.empty() && state.early_stopping.best_epoch > 0;
}

void RunFiles::load_best(torch::nn::Module& model, FlatParameters& parameters) {
  agree_on_files(control_, "restoring the best weights", [&] {
    if (control_.rank() != 0) return;
    import_weights(model,
                   parameters,
                   load_safetensors(path("best.safetensors")).tensors,
                   path("best.safetensors"));
  });
}

}  // namespace lockstep
