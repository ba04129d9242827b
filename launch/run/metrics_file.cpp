#include "lockstep/launch/run/metrics_file.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/training/ema.h"

namespace lockstep {
namespace {

using nlohmann::ordered_json;

constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kMostEpochs = 1'000'000;  // a greater number is damage

ordered_json number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}
ordered_json number(const std::optional<double>& value) {
  return value ? number(*value) : ordered_json(nullptr);
}

bool still_holds(const std::string& line, int64_t step, int64_t epoch) {
  const auto event = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) return false;  // a torn last line, too
  const ordered_json kind = event.value("event", ordered_json());
  if (kind == "start") return step > 0;
  const auto count = [&](const char* key) {
    const ordered_json value = event.value(key, ordered_json());
    return value.is_number_integer() ? value.get<int64_t>() : INT64_MAX;
  };
  if (kind == "step") return count("step") <= step;
  return kind == "epoch" && count("step") <= step && count("epoch") <= epoch;
}

}  // namespace

MetricsFile::MetricsFile(const std::string& path, int64_t resumed_step, int64_t resumed_epoch)
    : path_(path),
      file_(keep_lines(path,
                       [&](const std::string& line) {
                         return still_holds(line, resumed_step, resumed_epoch);
                       }),
            /*fresh=*/false) {}

void MetricsFile::write(const std::string& line) { file_.write(line + "\n"); }

void MetricsFile::on_start(const StartReport& report) {
  num_classes_ = report.num_classes;
  ema_decay_ = report.ema_decay;
  ordered_json line = {{"event", "start"},
                       {"world_size", report.world_size},
                       {"hosts", report.hosts},
                       {"backend", report.backend},
                       {"device", report.device},
                       {"precision", report.precision},
                       {"model", report.model},
                       {"parameters", report.parameters},
                       {"num_classes", report.num_classes},
                       {"validation_batch_size", report.validation_batch_size},
                       {"config_digest", report.config_digest},
                       {"data_digest", report.data_digest}};
  if (!report.initial_weights_digest.empty())
    line["initial_weights_digest"] = report.initial_weights_digest;
  write(line.dump());
}

void MetricsFile::on_step(const StepReport& report) {
  write(ordered_json{{"event", "step"},
                     {"epoch", report.epoch},
                     {"step", report.step},
                     {"loss", number(report.loss)},
                     {"learning_rate", number(report.learning_rate)},
                     {"images_per_second", number(report.images_per_second)},
                     {"data_wait_seconds", number(report.data_wait_seconds)}}
            .dump());
}

void MetricsFile::on_epoch(const EpochReport& report) {
  write(ordered_json{{"event", "epoch"},
                     {"epoch", report.epoch},
                     {"step", report.step},
                     {"train_loss", number(report.train_loss)},
                     {"train_accuracy", number(report.train_accuracy)},
                     {"validation_loss", number(report.validation_loss)},
                     {"validation_accuracy", number(report.validation_accuracy)},
                     {"learning_rate", number(report.learning_rate)},
                     {"seconds", number(report.seconds)},
                     {"images_per_second", number(report.images_per_second)},
                     {"best_epoch", report.best_epoch},
                     {"patience_left", report.patience_left}}
            .dump());
}

void MetricsFile::on_end(const EndReport& report) {
  OverfittingAnalysis analysis =
      analyse_curves(read_learning_curves(path_), guessing_loss(num_classes_));
  if (average_lags(ema_decay_, report.steps)) analysis.verdict = Verdict::kAverageLags;
  // Of a run that goes on later, or that broke off, there is no verdict.
  const bool ended = is_finished(report.reason);
  write(ordered_json{
      {"event", "end"},
      {"reason", name_of(report.reason)},
      {"epochs", report.epochs},
      {"steps", report.steps},
      {"best_epoch", report.best_epoch},
      {"test_loss", number(report.test_loss)},
      {"test_accuracy", number(report.test_accuracy)},
      {"seconds", number(report.seconds)},
      {"peak_resident_bytes", report.peak_resident_bytes},
      {"sweet_spot_epoch", analysis.sweet_spot_epoch},
      {"overfit_since", analysis.overfit_since},
      {"verdict", ended ? ordered_json(verdict_name(analysis.verdict)) : ordered_json(nullptr)}}
            .dump());
}

void add_epoch(LearningCurves& curves, int64_t epoch, double train_loss, double validation_loss) {
  const auto length =
      static_cast<size_t>(std::max(epoch, static_cast<int64_t>(curves.train_loss.size())));
  curves.train_loss.resize(length, kNotKnown);
  curves.validation_loss.resize(length, kNotKnown);
  curves.train_loss[static_cast<size_t>(epoch) - 1] = train_loss;
  curves.validation_loss[static_cast<size_t>(epoch) - 1] = validation_loss;
}

LearningCurves read_learning_curves(const std::string& path) {
  LearningCurves curves;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.find("\"epoch\"") == std::string::npos ||
        line.find("\"train_loss\"") == std::string::npos)
      continue;
    const auto event = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object() || event.value("event", ordered_json()) != "epoch") continue;
    const auto epoch = event.value("epoch", ordered_json());
    if (!epoch.is_number_integer() || epoch < 1 || epoch > kMostEpochs) continue;
    const auto loss = [&](const char* key) {
      const auto value = event.value(key, ordered_json());
      return value.is_number() ? value.get<double>() : kNotKnown;
    };
    add_epoch(curves, epoch.get<int64_t>(), loss("train_loss"), loss("validation_loss"));
  }
  return curves;
}

}  // namespace lockstep
