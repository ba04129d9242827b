// What a learning-rate range test tells: progress, lr_finder.json, a summary for people.
#pragma once

#include <chrono>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/lr_finder.h"
#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

// What is being done, then a line every few seconds.
class LrFinderLines final : public TrainingObserver {
 public:
  explicit LrFinderLines(const LrFinderOptions& options) : options_(options) {}
  void on_start(const StartReport& report) override;
  void on_step(const StepReport& report) override;

 private:
  LrFinderOptions options_;
  std::chrono::steady_clock::time_point last_line_ = std::chrono::steady_clock::now();
};

// {"start", "end", "updates", "points": [{"learning_rate", "loss", "smoothed_loss"}],
// "suggestion"}: rates as the optimizer gets them; numbers that are not finite and a suggestion
// that there is not are null.
std::string lr_finder_json(const LrFinder& finder);

// The curve in a few lines, how the test ended, and the suggestion as a value of
// optimizer.learning_rate, which linear scaling with the batch, if configured, turns into the rate.
std::string lr_finder_words(const LrFinder& finder, const Config& config);

}  // namespace lockstep
