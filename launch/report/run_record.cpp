#include "lockstep/launch/report/run_record.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/json_number.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/launch/report/metrics_reader.h"
#include "lockstep/launch/run/run_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLargestSideFile = 256 << 20;
constexpr size_t kMostRatePoints = 100'000;

void add_settings(const nlohmann::ordered_json& value, const std::string& key, Settings& settings) {
  if (!value.is_object()) {
    settings.emplace_back(
        key, value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return;
  }
  for (const auto& [name, inner] : value.items())
    add_settings(inner, key.empty() ? name : key + "." + name, settings);
}

Settings settings_from_json(const std::string& text, const std::string& source) {
  parse_strict_json(text, source, ExitCode::kBadData);  // with distrust; what follows keeps order
  Settings settings;
  add_settings(nlohmann::ordered_json::parse(text), "", settings);
  return settings;
}

LearningRateTest rate_test_from_json(const std::string& text, const std::string& source) {
  const json root = parse_strict_json(text, source, ExitCode::kBadData);
  LearningRateTest test;
  if (!root.is_object() || !root.contains("points") || !root["points"].is_array())
    throw_error(ExitCode::kBadData, "{} has no list of points", source);
  test.suggestion = number_at(root, "suggestion");
  for (const json& point : root["points"]) {
    if (!point.is_object() || test.points.size() == kMostRatePoints) continue;
    test.points.push_back({.learning_rate = number_at(point, "learning_rate"),
                           .loss = number_at(point, "loss"),
                           .smoothed_loss = number_at(point, "smoothed_loss")});
  }
  return test;
}

// Reads a file that a report can do without.
template <typename Use>
void read_if_there(RunRecord& run, const char* name, Use&& use) {
  const std::string path = (fs::path(run.directory) / name).string();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  try {
    use(read_file(path, kLargestSideFile), path);
  } catch (const Error& error) {
    run.problems.push_back(error.what());
  }
}

}  // namespace

bool RunRecord::has_validation() const {
  return std::any_of(epochs.begin(), epochs.end(), [](const EpochRecord& epoch) {
    return epoch.validation_loss == epoch.validation_loss ||
           epoch.validation_accuracy == epoch.validation_accuracy;
  });
}

double RunRecord::updates_per_epoch() const {
  // The largest: an epoch that a limit cut short has fewer.
  double updates = 0;
  for (const EpochRecord& epoch : epochs)
    updates = std::max(updates, static_cast<double>(epoch.step) / static_cast<double>(epoch.epoch));
  return updates;
}

double RunRecord::position(double step) const {
  const double updates = updates_per_epoch();
  return updates > 0 ? step / updates : step;
}

std::string RunRecord::setting(const std::string& key) const {
  for (const auto& [name, value] : configuration) {
    if (name == key) return value;
  }
  return "";
}

RunRecord read_run(const std::string& directory) {
  require_run(directory, {"metrics.jsonl", "lr_finder.json"});
  RunRecord run;
  run.directory = directory;
  const std::string metrics = (fs::path(directory) / "metrics.jsonl").string();
  std::error_code ignored;
  if (fs::exists(metrics, ignored)) read_metrics(metrics, run);
  read_if_there(run, "config.json", [&](const std::string& text, const std::string& path) {
    run.configuration = settings_from_json(text, path);
  });
  read_if_there(run, "environment.json", [&](const std::string& text, const std::string& path) {
    run.environment = settings_from_json(text, path);
  });
  read_if_there(run, kPredictionFile, [&](const std::string& text, const std::string& path) {
    run.predictions = test_predictions_from_json(text, path);
  });
  read_if_there(run, "lr_finder.json", [&](const std::string& text, const std::string& path) {
    run.learning_rate_test = rate_test_from_json(text, path);
  });
  return run;
}

}  // namespace lockstep
