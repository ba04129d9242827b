#include "lockstep/distributed/run/run_files.h"

#include <filesystem>
#include <utility>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {

RunFiles::RunFiles(RunFilesOptions options, ControlChannel& control)
    : options_(std::move(options)), control_(control) {}

std::string RunFiles::path(const char* name) const {
  return (std::filesystem::path(options_.directory) / name).string();
}

void RunFiles::save(const ControlRecord& record,
                    const torch::nn::Module& model,
                    const FlatParameters& parameters,
                    Optimizer& optimizer,
                    WeightAverage* average) {
  if (options_.directory.empty() || !(record.save || record.is_best)) return;
  agree_on_files(control_, "saving the run", [&] {
    if (control_.rank() != 0) return;
    const NamedTensors weights = export_weights(model, parameters);
    NamedTensors averaged;
    with_average(average, [&] {
      if (average) averaged = export_weights(model, parameters);
    });
    const std::string bytes = safetensors_bytes(average ? averaged : weights, options_.metadata);
    if (record.is_best) {
      write_file_durably(path("best.safetensors"), bytes);
      options_.best_sha256 = sha256_hex(bytes);
    }
    if (!record.save) return;
    write_file_durably(path("last.safetensors"), bytes);
    save_checkpoint(options_.directory,
                    {.model = weights,
                     .optimizer = export_optimizer(optimizer, parameters),
                     .average = averaged,
                     .state = record.state,
                     .config_json = options_.config_json,
                     .data_digest = options_.data_digest,
                     .best_sha256 = options_.best_sha256,
                     .arithmetic = options_.arithmetic},
                    options_.keep_checkpoints,
                    &whole_checkpoints_);
  });
}

bool RunFiles::has_best(const ControlState& state) const {
  return !options_.directory.empty() && state.early_stopping.best_epoch > 0;
}

void RunFiles::load_best(torch::nn::Module& model, FlatParameters& parameters) {
  agree_on_files(control_, "restoring the best weights", [&] {
    if (control_.rank() != 0) return;
    const std::string file = path("best.safetensors");
    const std::string bytes = read_file(file);
    if (!options_.best_sha256.empty() && sha256_hex(bytes) != options_.best_sha256) {
      throw_error(ExitCode::kBadData,
                  "{} is not what this run wrote after its best epoch: it has been changed or "
                  "replaced since. The run itself is trained to its end and saved; `lockstep "
                  "evaluate {} --weights last` tests its last weights",
                  file,
                  options_.directory);
    }
    import_weights(model, parameters, parse_safetensors(bytes, file).tensors, file);
  });
}

}  // namespace lockstep
