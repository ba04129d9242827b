// The learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks",
// section 3.3): a rate that rises from update to update, and what the losses say of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lockstep {

struct LrFinderOptions {
  double start = 1e-5;    // first rate
  double end = 10.0;      // last one
  int64_t updates = 100;  // at least 20
};

struct LrFinderPoint {
  double learning_rate = 0;
  double loss = 0;           // mean over the global batch, of the loss trained on
  double smoothed_loss = 0;  // exponential mean of the losses so far, corrected for its start
};

// One range test under way. Deterministic: the same losses give the same rates, end and suggestion.
class LrFinder {
 public:
  // Throws Error(kUsage) for rates that are not 0 < start < end < infinity or fewer than 20
  // updates.
  explicit LrFinder(const LrFinderOptions& options);

  // Of the next update: start * (end / start)^(i / (updates - 1)).
  double next_rate() const;
  // The loss of the update just made. The test ends after the last rate, with a loss that is not
  // finite, or when the smoothed loss exceeds four times its lowest value (fastai's bound).
  void record(double loss);
  bool finished() const { return finished_; }
  bool diverged() const { return diverged_; }

  const LrFinderOptions& options() const { return options_; }
  const std::vector<LrFinderPoint>& points() const { return points_; }

 private:
  LrFinderOptions options_;
  std::vector<LrFinderPoint> points_;
  double mean_ = 0, lowest_ = 0;
  bool finished_ = false, diverged_ = false;
};

// The rate at which the smoothed loss first lies a tenth below its start (the mean of the first
// tenth of the updates): about a tenth of the rate of the lowest loss, which fastai's older
// convention suggests. Neither that lowest loss nor the steepest slope is used, since at high rates
// training amplifies rounding: losses of other numbers of ranks differ there by a tenth, but by
// less than a thousandth where this level is crossed. Interpolated in the logarithm of the rate,
// then rounded in it to 1, 2 or 5 times a power of ten: any number of ranks gives the same
// suggestion unless the crossing lies within rounding of the middle between two of these values.
// nullopt: the loss did not fall by a tenth, and there is nothing to suggest.
std::optional<double> suggest_learning_rate(const std::vector<LrFinderPoint>& points,
                                            int64_t updates);

// The value of the form 1, 2 or 5 times a power of ten that is nearest to `rate` (positive) in
// ratio.
double round_to_1_2_5(double rate);

}  // namespace lockstep
