#include "lockstep/launch/commands/trained_model.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/distributed/setup/trainer_setup.h"

namespace lockstep {
namespace {

constexpr int64_t kMostClasses = 1'000'000;
constexpr int64_t kMostChannels = 1024;
constexpr int64_t kMostPixels = 65536;

std::string weights_path(const std::string& source, const std::string& weights) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool is_run = fs::is_directory(source, ignored);
  const std::string path =
      is_run ? (fs::path(source) / (weights + ".safetensors")).string() : source;
  if (fs::exists(path, ignored)) return path;
  const bool has_last = is_run && fs::exists(fs::path(source) / "last.safetensors", ignored);
  throw_error(ExitCode::kInputOutput,
              "{} does not exist: give {}",
              path,
              has_last ? "--weights last, since the run has not finished an epoch yet"
                       : "a run directory that has saved weights, or a .safetensors file");
}

// Reads metadata; every complaint names the file and the key.
class MetadataReader {
 public:
  explicit MetadataReader(const TrainedModel& trained) : trained_(trained) {}

  const std::string& text(const char* key) const {
    const auto it = trained_.file.metadata.find(key);
    if (it == trained_.file.metadata.end()) {
      throw_error(
          ExitCode::kBadData,
          "{} has no '{}' in its metadata: only weights written by `lockstep train` say what "
          "they were trained as",
          trained_.path,
          key);
    }
    return it->second;
  }

  int64_t count(const char* key, int64_t most) const {
    const std::string& digits = text(key);
    int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stopped != end || value < 1 || value > most) {
      throw_error(ExitCode::kBadData,
                  "{} says in its metadata that {} is {}, but it must be from 1 to {}",
                  trained_.path,
                  key,
                  quote_for_message(digits, '\''),
                  most);
    }
    return value;
  }

  template <typename Value>
  std::vector<Value> list(const char* key, int64_t size) const {
    const std::string source = trained_.path + ", " + key;
    std::vector<Value> values;
    try {
      values = parse_strict_json(text(key), source, ExitCode::kBadData).get<std::vector<Value>>();
    } catch (const nlohmann::json::exception&) {
      throw_error(ExitCode::kBadData, "{} has a '{}' that is no such list", trained_.path, key);
    }
    if (static_cast<int64_t>(values.size()) != size) {
      throw_error(ExitCode::kBadData,
                  "{} has {} values of '{}' in its metadata where {} are needed",
                  trained_.path,
                  values.size(),
                  key,
                  size);
    }
    return values;
  }

 private:
  const TrainedModel& trained_;
};

void read_metadata(TrainedModel& trained) {
  const MetadataReader reader(trained);
  if (trained.file.metadata.contains("own_model")) {
    throw_error(ExitCode::kBadData,
                "{} holds the weights of a model that is not this program's: it was trained by a "
                "program with a model of its own, which alone can use them (as a file: "
                "safetensors.torch.load_file)",
                trained.path);
  }
  trained.config = parse_config(reader.text("config"), {}, trained.path);
  find_model(trained.config.model.name);
  trained.options = model_options(trained.config.model,
                                  reader.count("num_classes", kMostClasses),
                                  reader.count("image_channels", kMostChannels),
                                  reader.count("image_size", kMostPixels));
  trained.class_names = reader.list<std::string>("class_names", trained.options.num_classes);
  trained.mean = reader.list<float>("mean", trained.options.image_channels);
  trained.std = reader.list<float>("std", trained.options.image_channels);
  if (const auto digest = trained.file.metadata.find("data_digest");
      digest != trained.file.metadata.end()) {
    trained.data_digest = digest->second;
  }
  for (const float deviation : trained.std) {
    if (!(std::isfinite(deviation) && deviation > 0))
      throw_error(ExitCode::kBadData, "{} has a 'std' that is not positive", trained.path);
  }
}

}  // namespace

TrainedModel load_trained(const std::string& source, const std::string& weights) {
  TrainedModel trained;
  trained.path = weights_path(source, weights);
  const std::string bytes = read_file(trained.path);
  trained.sha256 = sha256_hex(bytes);
  trained.file = parse_safetensors(bytes, trained.path);
  try {
    read_metadata(trained);
  } catch (const Error& error) {
    throw Error(ExitCode::kBadData, error.what());
  }
  trained.config.device = Config{}.device;
  const bool reproducible = trained.config.distributed.reproducible;
  trained.config.distributed = DistributedConfig{};
  trained.config.distributed.reproducible = reproducible;
  trained.config.data.cache = DataConfig{}.cache;
  return trained;
}

std::shared_ptr<ImageClassifier> restore_model(const TrainedModel& trained,
                                               const BatchFormat& format) {
  auto model = find_model(trained.config.model.name).make(trained.options);
  model->to(format.device);
  FlatParameters parameters(*model, flat_options(trained.config, format));
  import_weights(*model, parameters, trained.file.tensors, trained.path);
  model->eval();
  return model;
}

}  // namespace lockstep
