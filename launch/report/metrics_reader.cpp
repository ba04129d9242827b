#include "lockstep/launch/report/metrics_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/json_number.h"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr size_t kMostSteps = 4096;
constexpr int64_t kMostEpochs = 1'000'000;  // a greater number is damage
constexpr int64_t kLargestCount = int64_t{1} << 53;

// At least 0; 0 for what is no count.
int64_t count(const json& line, const char* key) {
  const double value = number_at(line, key);
  return value >= 0 && value <= static_cast<double>(kLargestCount) ? static_cast<int64_t>(value)
                                                                   : 0;
}

std::string text(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

double mean(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
  return (a + b) / 2;
}

// Steps, each the mean of as many updates as keeps their number small.
class StepThinner {
 public:
  void add(const StepRecord& step) {
    if (step.step <= last_) drop_from(step.step);
    last_ = step.step;
    merge(pending_, num_pending_++, step);
    if (num_pending_ < stride_) return;
    kept_.push_back(pending_);
    num_pending_ = 0;
    if (kept_.size() == kMostSteps) halve();
  }

  std::vector<StepRecord> finish() {
    if (num_pending_ > 0) kept_.push_back(pending_);
    return std::move(kept_);
  }

 private:
  static void merge(StepRecord& into, size_t already, const StepRecord& step) {
    if (already == 0) {
      into = step;
    } else {
      const auto n = static_cast<double>(already);
      into.step = (into.step * n + step.step) / (n + 1);
      into.loss = std::isnan(into.loss) || std::isnan(step.loss)
                      ? mean(into.loss, step.loss)
                      : (into.loss * n + step.loss) / (n + 1);
      into.learning_rate = mean(into.learning_rate, step.learning_rate);
    }
  }

  void halve() {
    for (size_t i = 0; i < kMostSteps / 2; ++i) {
      kept_[i] = kept_[2 * i];
      merge(kept_[i], 1, kept_[2 * i + 1]);
    }
    kept_.resize(kMostSteps / 2);
    stride_ *= 2;
  }

  void drop_from(double step) {
    std::erase_if(kept_, [&](const StepRecord& kept) { return kept.step >= step; });
    num_pending_ = 0;
  }

  std::vector<StepRecord> kept_;
  StepRecord pending_;
  size_t num_pending_ = 0, stride_ = 1;
  double last_ = 0;
};

class MetricsReader {
 public:
  explicit MetricsReader(RunRecord& run) : run_(run) {}

  // False for a line that is none of a run's.
  bool take(const std::string& line) {
    const json event = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return false;
    const std::string kind = text(event, "event");
    if (kind == "start") return take_start(event);
    if (kind == "step") return take_step(event);
    if (kind == "epoch") return take_epoch(event);
    if (kind == "end") return take_end(event);
    return false;
  }

  void finish() {
    run_.steps = steps_.finish();
    for (EpochRecord& epoch : run_.epochs) {
      const auto waited = waits_.find(epoch.epoch);
      if (waited != waits_.end()) epoch.data_wait_seconds = waited->second;
      if (epoch.seconds > 0) run_.seconds += epoch.seconds;
    }
  }

 private:
  bool take_start(const json& event) {
    ++run_.num_starts;
    run_.model = text(event, "model");
    run_.precision = text(event, "precision");
    run_.backend = text(event, "backend");
    run_.device = text(event, "device");
    run_.data_digest = text(event, "data_digest");
    run_.parameters = count(event, "parameters");
    run_.world_size = count(event, "world_size");
    run_.num_classes = count(event, "num_classes");
    const auto hosts = event.find("hosts");
    run_.num_hosts =
        hosts != event.end() && hosts->is_array() ? static_cast<int64_t>(hosts->size()) : 0;
    run_.end_reason.reset();
    return true;
  }

  bool take_step(const json& event) {
    const int64_t step = count(event, "step"), epoch = count(event, "epoch");
    if (step < 1 || epoch < 1) return false;
    steps_.add({.step = static_cast<double>(step),
                .loss = number_at(event, "loss"),
                .learning_rate = number_at(event, "learning_rate")});
    const double wait = number_at(event, "data_wait_seconds");
    if (wait >= 0) waits_[epoch] += wait;
    run_.last_step = step;
    return true;
  }

  bool take_epoch(const json& event) {
    const int64_t epoch = count(event, "epoch");
    if (epoch < 1 || epoch > kMostEpochs) return false;
    std::erase_if(run_.epochs, [&](const EpochRecord& known) { return known.epoch >= epoch; });
    run_.epochs.push_back({.epoch = epoch,
                           .step = count(event, "step"),
                           .train_loss = number_at(event, "train_loss"),
                           .train_accuracy = number_at(event, "train_accuracy"),
                           .validation_loss = number_at(event, "validation_loss"),
                           .validation_accuracy = number_at(event, "validation_accuracy"),
                           .learning_rate = number_at(event, "learning_rate"),
                           .seconds = number_at(event, "seconds"),
                           .images_per_second = number_at(event, "images_per_second")});
    run_.best_epoch = count(event, "best_epoch");
    run_.last_step = std::max(run_.last_step, run_.epochs.back().step);
    return true;
  }

  bool take_end(const json& event) {
    run_.end_reason.reset();
    if (const auto* row = row_called<EndReason>(text(event, "reason")))
      run_.end_reason = row->value;
    run_.best_epoch = count(event, "best_epoch");
    run_.test_loss = number_at(event, "test_loss");
    run_.test_accuracy = number_at(event, "test_accuracy");
    run_.last_step = count(event, "steps");
    const auto peaks = event.find("peak_resident_bytes");
    if (peaks == event.end() || !peaks->is_array()) return true;
    for (const json& peak : *peaks) {
      if (peak.is_number_unsigned())
        run_.largest_resident_bytes = std::max(run_.largest_resident_bytes, peak.get<int64_t>());
    }
    return true;
  }

  RunRecord& run_;
  StepThinner steps_;
  std::map<int64_t, double> waits_;  // by epoch
};

}  // namespace

void read_metrics(const std::string& path, RunRecord& run) {
  std::ifstream file(path);
  MetricsReader reader(run);
  int64_t read = 0, foreign = 0;
  for (std::string line; std::getline(file, line);) ++(reader.take(line) ? read : foreign);
  if (file.bad() || !file.is_open()) throw_error(ExitCode::kInputOutput, "cannot read {}", path);
  if (read == 0 && foreign > 0)
    throw_error(
        ExitCode::kBadData, "{} holds no line of a run: it is damaged, or not Lockstep's", path);
  if (foreign > 0)
    run.problems.push_back(fmt::format(
        "{} of metrics.jsonl could not be read and {} left out: a run that is killed may leave one "
        "half written",
        foreign == 1 ? "1 line" : fmt::format("{} lines", foreign),
        foreign == 1 ? "is" : "are"));
  reader.finish();
}

}  // namespace lockstep
