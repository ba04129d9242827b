// What a run directory tells of its run, read with forgiveness: runs crash.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/distributed/run/end_reason.h"
#include "lockstep/launch/report/prediction_file.h"

namespace lockstep {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Several updates together, where a run has many.
struct StepRecord {
  double step = 0, loss = kUnknown, learning_rate = kUnknown;
};

struct EpochRecord {
  int64_t epoch = 0, step = 0;
  double train_loss = kUnknown, train_accuracy = kUnknown;
  double validation_loss = kUnknown, validation_accuracy = kUnknown;
  double learning_rate = kUnknown;
  double seconds = kUnknown, images_per_second = kUnknown;
  double data_wait_seconds = kUnknown;  // rank 0's
};

struct LearningRateTest {
  struct Point {
    double learning_rate = 0, loss = kUnknown, smoothed_loss = kUnknown;
  };
  std::vector<Point> points;
  double suggestion = kUnknown;
};

using Settings = std::vector<std::pair<std::string, std::string>>;  // dotted key, value as JSON

struct RunRecord {
  std::string directory;
  std::string model, precision, backend, device;  // of the last start
  std::string data_digest;                        // of the image set; empty: not known
  int64_t parameters = 0, world_size = 0, num_hosts = 0;
  int64_t num_classes = 0;  // 0: not known
  int64_t num_starts = 0;
  std::vector<StepRecord> steps;  // evenly thinned
  std::vector<EpochRecord> epochs;
  int64_t last_step = 0;
  std::optional<EndReason> end_reason;  // nothing: no end is recorded, or one unknown here
  int64_t best_epoch = 0;               // 0: none
  double test_loss = kUnknown, test_accuracy = kUnknown;
  double seconds = 0;                  // of all epochs together
  int64_t largest_resident_bytes = 0;  // of any rank
  Settings configuration, environment;
  std::optional<TestPredictions> predictions;
  std::optional<LearningRateTest> learning_rate_test;
  std::vector<std::string> problems;  // what could not be read, as sentences

  bool has_validation() const;
  // Updates an epoch; 0 as long as no epoch has ended.
  double updates_per_epoch() const;
  // Where an update stands on an axis of epochs (of updates, as long as no epoch has ended).
  double position(double step) const;
  // The value of a configuration key as text; empty: not known.
  std::string setting(const std::string& key) const;
};

// Reads metrics.jsonl, config.json, environment.json, test_predictions.json and lr_finder.json, as
// far as they are there. A torn or foreign line, and any file but metrics.jsonl that cannot be
// read, costs an entry in `problems`. Throws Error: kInputOutput when the directory does not exist
// or cannot be read; kUsage when it holds no run (neither metrics.jsonl nor lr_finder.json);
// kBadData when metrics.jsonl has lines and none can be read.
RunRecord read_run(const std::string& directory);

}  // namespace lockstep
