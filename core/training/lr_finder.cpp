#include "lockstep/core/training/lr_finder.h"

#include <algorithm>
#include <cmath>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr double kMemory = 0.9;      // of the exponential mean: about ten updates
constexpr double kDivergence = 4.0;  // times the lowest smoothed loss
constexpr double kFall = 0.1;        // relative to the loss at the start: the suggestion
constexpr int64_t kLeastUpdates = 20;

}  // namespace

LrFinder::LrFinder(const LrFinderOptions& options) : options_(options) {
  if (!(options.start > 0 && options.start < options.end && std::isfinite(options.end))) {
    throw_error(
        ExitCode::kUsage,
        "the range test's rates run from {} to {}: the first must be positive and below the last",
        options.start,
        options.end);
  }
  if (options.updates < kLeastUpdates) {
    throw_error(ExitCode::kUsage,
                "a range test of {} updates shows nothing: give it at least {}",
                options.updates,
                kLeastUpdates);
  }
}

double LrFinder::next_rate() const {
  const double fraction =
      static_cast<double>(points_.size()) / static_cast<double>(options_.updates - 1);
  return options_.start * std::pow(options_.end / options_.start, fraction);
}

void LrFinder::record(double loss) {
  mean_ = kMemory * mean_ + (1 - kMemory) * loss;
  const double rate = next_rate();
  const auto count = static_cast<double>(points_.size() + 1);
  const double smoothed = mean_ / (1 - std::pow(kMemory, count));
  lowest_ = points_.empty() ? smoothed : std::min(lowest_, smoothed);
  points_.push_back({.learning_rate = rate, .loss = loss, .smoothed_loss = smoothed});
  // A comparison with NaN is false.
  diverged_ = !(smoothed <= kDivergence * lowest_);
  finished_ = diverged_ || static_cast<int64_t>(points_.size()) >= options_.updates;
}

std::optional<double> suggest_learning_rate(const std::vector<LrFinderPoint>& points,
                                            int64_t updates) {
  const auto first = static_cast<size_t>(std::max<int64_t>(1, updates / 10));
  if (points.size() <= first) return std::nullopt;
  double start = 0;
  for (size_t i = 0; i < first; ++i) start += points[i].loss / static_cast<double>(first);
  const double level = (1 - kFall) * start;
  for (size_t i = first; i < points.size(); ++i) {
    const LrFinderPoint &a = points[i - 1], &b = points[i];
    if (!(b.smoothed_loss <= level)) continue;
    const double span = a.smoothed_loss - b.smoothed_loss;
    const double fraction = span > 0 ? std::clamp((a.smoothed_loss - level) / span, 0.0, 1.0) : 1.0;
    return round_to_1_2_5(a.learning_rate * std::pow(b.learning_rate / a.learning_rate, fraction));
  }
  return std::nullopt;
}

double round_to_1_2_5(double rate) {
  const double exponent = std::floor(std::log10(rate));
  const double power = std::pow(10.0, exponent);
  const double digits = rate / power;  // from 1 to 10
  double nearest = 1;
  for (double candidate : {2.0, 5.0, 10.0}) {
    if (std::abs(std::log(digits / candidate)) < std::abs(std::log(digits / nearest)))
      nearest = candidate;
  }
  // A power of ten below 1 has no exact double: dividing by its inverse, which has, gives the
  // nearest one.
  return exponent < 0 ? nearest / std::pow(10.0, -exponent) : nearest * power;
}

}  // namespace lockstep
