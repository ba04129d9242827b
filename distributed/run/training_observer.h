// What a run tells the outside: progress display, metrics file, TensorBoard.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/distributed/run/end_reason.h"
#include "lockstep/distributed/training/predictions.h"

namespace lockstep {

struct StartReport {
  int world_size = 1;
  std::vector<std::string> hosts;
  std::string backend, device, precision, model;
  int64_t parameters = 0;  // elements, frozen ones included
  std::string config_digest, data_digest;
  int64_t num_classes = 0;
  int64_t train_images = 0, validation_images = 0, test_images = 0;
  int64_t batch_size = 0, updates_per_epoch = 0, epochs = 0;
  std::vector<int64_t> images_of_rank;  // of a full batch
  int64_t validation_batch_size = 0;    // images a rank evaluates at once
  double ema_decay = 0;                 // of the averaged weights that are validated; 0 = none are
  int64_t resumed_step = 0;             // 0 = fresh
  int64_t resumed_epoch = 0;
  std::string initial_weights_digest;  // SHA-256 of model.weights; empty: from the seed, or resumed
  std::vector<std::string> notes;      // one line each, for people: initial weights, frozen parts
};

struct StepReport {
  int64_t epoch = 0, step = 0;     // from 1
  int64_t batch = 0, batches = 0;  // of this epoch, from 1
  double loss = 0;                 // mean over the global batch
  double learning_rate = 0;
  double images_per_second = 0;  // all ranks together, since the last report
  double data_wait_seconds = 0;  // this rank's, since the last report
};

// Of rank 0's memory after an update; all ranks' are the same.
struct DigestReport {
  int64_t step = 0;
  std::vector<std::pair<std::string, uint64_t>> digests;  // by name, as in replicated_state()
};

struct EpochReport {
  int64_t epoch = 0, step = 0;
  double train_loss = 0, train_accuracy = 0;
  std::optional<double> validation_loss, validation_accuracy;
  double learning_rate = 0;
  double seconds = 0, images_per_second = 0;
  int64_t best_epoch = 0, patience_left = 0;
  bool is_best = false;
};

struct EndReport {
  EndReason reason = EndReason::kCompleted;
  int64_t epochs = 0, steps = 0, best_epoch = 0;
  std::optional<double> best_value;        // of the quantity that early stopping watches
  int64_t epochs_without_improvement = 0;  // since the best one
  std::optional<double> test_loss, test_accuracy;
  double seconds = 0;
  std::vector<int64_t> peak_resident_bytes;  // by rank
};

// What the tested weights say of the test images.
struct TestReport {
  std::vector<std::string> class_names;
  PredictionSummary predictions;
  int64_t channels = 0, height = 0, width = 0;
  std::vector<uint8_t> pictures;  // of the worst mistakes, [n, C, H, W]; empty: not to be had
};

// Called on rank 0 alone, from the training thread: must be quick.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void on_start(const StartReport&) {}
  virtual void on_step(const StepReport&) {}
  virtual void on_digests(const DigestReport&) {}
  virtual void on_epoch(const EpochReport&) {}
  // Before on_end, of a run that is tested.
  virtual void on_test(const TestReport&) {}
  virtual void on_end(const EndReport&) {}
};

}  // namespace lockstep
