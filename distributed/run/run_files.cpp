#include "lockstep/distributed/run/run_files.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <thread>
#include <utility>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/file_io.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {
namespace {

constexpr const char* kBest = "best.safetensors";
// The best weights until the checkpoint that names them is there.
constexpr const char* kNextBest = "best.next.safetensors";

bool has_digest(const std::string& path, const std::string& sha256) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) && sha256_file(path) == sha256;
}

void replace_best(const std::string& next, const std::string& best) {
  if (std::rename(next.c_str(), best.c_str()) != 0) throw_file_error("replace", best, errno);
}

// Where an interruption came between a checkpoint and the best weights that it names they take
// their place; others were to be named by a checkpoint that never came.
void mend_best(const std::string& next, const std::string& best, const std::string& sha256) {
  if (!sha256.empty() && has_digest(next, sha256)) return replace_best(next, best);
  std::error_code ignored;
  std::filesystem::remove(next, ignored);
}

NamedTensors averaged_weights(const torch::nn::Module& model,
                              const FlatParameters& parameters,
                              WeightAverage* average) {
  NamedTensors weights;
  with_average(average, [&] {
    if (average) weights = export_weights(model, parameters);
  });
  return weights;
}

}  // namespace

RunFiles::RunFiles(RunFilesOptions options, ControlChannel& control)
    : options_(std::move(options)), control_(control) {
  agree_on_files(control_, "looking for the best weights", [&] {
    if (control_.rank() == 0 && !options_.directory.empty())
      mend_best(path(kNextBest), path(kBest), options_.best_sha256);
  });
}

RunFiles::~RunFiles() { settle(); }

std::string RunFiles::path(const char* name) const {
  return (std::filesystem::path(options_.directory) / name).string();
}

bool RunFiles::is_saving() const {
  return writing_.valid() &&
         writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

double RunFiles::seconds_since_save() const {
  if (options_.directory.empty()) return 0;
  return std::chrono::duration<double>(Clock::now() - last_save_).count();
}

void RunFiles::save(const ControlRecord& record,
                    const torch::nn::Module& model,
                    const FlatParameters& parameters,
                    Optimizer& optimizer,
                    WeightAverage* average) {
  if (options_.directory.empty()) return;
  const auto work = [&] {
    if (control_.rank() != 0) return;
    if (record.save || record.stop) settle();
    if (record.save) {
      begin_writing(take(record, model, parameters, optimizer, average));
      if (record.stop) finish();
    } else if (record.is_best) {
      best_ = average ? averaged_weights(model, parameters, average)
                      : export_weights(model, parameters);
    }
  };
  const bool epoch_ended = record.state.batch_in_epoch == 0;
  if (record.stop || (record.save && epoch_ended)) {
    agree_on_files(control_, "saving the run", work);
  } else {
    work();
  }
}

RunFiles::Snapshot RunFiles::take(const ControlRecord& record,
                                  const torch::nn::Module& model,
                                  const FlatParameters& parameters,
                                  Optimizer& optimizer,
                                  WeightAverage* average) {
  Snapshot snapshot{.contents = {.model = export_weights(model, parameters),
                                 .optimizer = export_optimizer(optimizer, parameters),
                                 .average = averaged_weights(model, parameters, average),
                                 .state = record.state,
                                 .config_json = options_.config_json,
                                 .data_digest = options_.data_digest,
                                 .arithmetic = options_.arithmetic},
                    .best = std::exchange(best_, std::nullopt)};
  snapshot.last_is_best = record.is_best;
  if (record.is_best) snapshot.best = snapshot.last();
  return snapshot;
}

void RunFiles::begin_writing(Snapshot snapshot) {
  last_save_ = Clock::now();
  snapshot_ = std::move(snapshot);
  writing_ = std::async(std::launch::async, [this] { write(); });
}

void RunFiles::write() {
  const std::string last = safetensors_bytes(snapshot_.last(), options_.metadata);
  std::string best_sha256 = options_.best_sha256;
  if (snapshot_.best) {
    const std::string best =
        snapshot_.last_is_best ? last : safetensors_bytes(*snapshot_.best, options_.metadata);
    write_file_durably(path(kNextBest), best);
    best_sha256 = sha256_hex(best);
  }
  snapshot_.contents.best_sha256 = best_sha256;
  save_checkpoint(
      options_.directory, snapshot_.contents, options_.keep_checkpoints, &whole_checkpoints_);
  if (snapshot_.best) replace_best(path(kNextBest), path(kBest));
  options_.best_sha256 = best_sha256;
  write_file_durably(path("last.safetensors"), last);
}

// Waits for the save under way. One that failed is told of; its best weights wait for the next.
void RunFiles::settle() {
  if (!writing_.valid()) return;
  try {
    writing_.get();
  } catch (const std::exception& error) {
    complain("lockstep: update {} is not saved: {}. The next save tries again\n",
             snapshot_.contents.state.step,
             error.what());
    best_ = std::move(snapshot_.best);
  }
  snapshot_ = {};
}

// Waits for the run's last save, and tries a second time where it fails.
void RunFiles::finish() {
  try {
    writing_.get();
  } catch (const std::exception&) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    write();
  }
  snapshot_ = {};
}

bool RunFiles::has_best(const ControlState& state) const {
  return !options_.directory.empty() && state.early_stopping.best_epoch > 0;
}

void RunFiles::load_best(torch::nn::Module& model, FlatParameters& parameters) {
  agree_on_files(control_, "restoring the best weights", [&] {
    if (control_.rank() != 0) return;
    const std::string file = path(kBest);
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
