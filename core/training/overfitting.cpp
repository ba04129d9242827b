#include "lockstep/core/training/overfitting.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lockstep {
namespace {

constexpr int64_t kLeastRiseEpochs = 3;     // of smoothed validation loss above the margin
constexpr double kLeastRise = 0.02;         // relative to the sweet spot
constexpr double kFluctuations = 3.0;       // standard deviations of one epoch's value
constexpr double kLeastTrend = 2.2;         // Mann-Kendall z: 1.4 % by chance
constexpr double kLargeRise = 0.2;          // relative to the sweet spot
constexpr double kLeastTrendOfLarge = 1.3;  // z, where the smoothed rise is large: 10 % by chance
constexpr double kLeastImprovement = 0.01;  // relative, over the last fifth: still improving
constexpr double kHighLoss = 0.5;           // of the loss of guessing
constexpr double kGuessing = 0.75;          // of the loss of guessing: next to nothing was learnt
constexpr double kSmallGap = 0.1;           // relative to the training loss

double median_of_3(double a, double b, double c) {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

std::vector<double> median_then_hanning(const std::vector<double>& x) {
  const size_t n = x.size();
  if (n < 3) return x;
  std::vector<double> median = x;
  for (size_t i = 1; i + 1 < n; ++i) median[i] = median_of_3(x[i - 1], x[i], x[i + 1]);
  // An end is compared with the line through its two neighbours.
  median[0] = median_of_3(x[0], median[1], 3 * median[1] - 2 * median[2]);
  median[n - 1] = median_of_3(x[n - 1], median[n - 2], 3 * median[n - 2] - 2 * median[n - 3]);
  std::vector<double> smooth = median;
  for (size_t i = 1; i + 1 < n; ++i) {
    // In this form equal neighbours stay equal to the bit, and ties remain ties.
    smooth[i] = median[i] + ((median[i - 1] - median[i]) + (median[i + 1] - median[i])) / 4;
  }
  return smooth;
}

std::vector<double> smoothed(const std::vector<double>& known) {
  return median_then_hanning(median_then_hanning(known));
}

// The standard deviation of one epoch's value around the curve, from how far the middle of three
// neighbours lies outside the other two, which is 0 where a curve only falls or rises, however
// steeply. For independent normal values the mean is 0.564 deviations; without the largest eighth,
// as here, about 0.45.
double fluctuation(const std::vector<double>& x, size_t first) {
  std::vector<double> outside;
  for (size_t i = std::max<size_t>(1, first); i + 1 < x.size(); ++i)
    outside.push_back(std::abs(x[i] - median_of_3(x[i - 1], x[i], x[i + 1])));
  std::sort(outside.begin(), outside.end());
  outside.resize(outside.size() - (outside.size() + 7) / 8);
  if (outside.empty()) return 0;
  double sum = 0;
  for (double value : outside) sum += value;
  return sum / static_cast<double>(outside.size()) / 0.45;
}

// Mann-Kendall z, with continuity correction, of a rise in x[first..].
double rising_trend(const std::vector<double>& x, size_t first) {
  const auto n = static_cast<double>(x.size() - first);
  double score = 0;
  for (size_t i = first; i < x.size(); ++i) {
    for (size_t j = i + 1; j < x.size(); ++j) score += (x[j] > x[i]) - (x[j] < x[i]);
  }
  const double variance = n * (n - 1) * (2 * n + 5) / 18;
  return score > 0 ? (score - 1) / std::sqrt(variance) : 0;
}

// Curves of the epochs with both losses, raw and smoothed.
struct KnownCurves {
  std::vector<int64_t> epoch;
  std::vector<double> train, validation, smooth_train, smooth_validation;
};

KnownCurves known_curves(const LearningCurves& curves) {
  KnownCurves known;
  const size_t n = std::min(curves.train_loss.size(), curves.validation_loss.size());
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(curves.train_loss[i]) || !std::isfinite(curves.validation_loss[i])) continue;
    known.epoch.push_back(static_cast<int64_t>(i) + 1);
    known.train.push_back(curves.train_loss[i]);
    known.validation.push_back(curves.validation_loss[i]);
  }
  known.smooth_train = smoothed(known.train);
  known.smooth_validation = smoothed(known.validation);
  return known;
}

// The index at which the rise that lasts to the end begins; 0 = there is none (it follows the sweet
// spot, so 0 is free).
size_t lasting_rise(const KnownCurves& known, size_t sweet_spot) {
  const std::vector<double>& smooth = known.smooth_validation;
  const size_t n = smooth.size();
  // The fluctuation of the later epochs counts: early ones often fluctuate more, under higher
  // rates.
  const size_t late = n - std::min(n, std::max<size_t>(9, n / 2 + 1));
  const size_t near_sweet_spot = sweet_spot - std::min<size_t>(sweet_spot, 4);
  const double noise = fluctuation(known.validation, std::min(late, near_sweet_spot));
  const double bound = smooth[sweet_spot] +
                       std::max(kLeastRise * std::abs(smooth[sweet_spot]), kFluctuations * noise);
  size_t above = n;
  while (above > sweet_spot + 1 && smooth[above - 1] > bound) --above;
  if (n - above < static_cast<size_t>(kLeastRiseEpochs)) return 0;
  const bool large = smooth[n - 1] > smooth[sweet_spot] + kLargeRise * std::abs(smooth[sweet_spot]);
  const double least_trend = large ? kLeastTrendOfLarge : kLeastTrend;
  if (rising_trend(known.validation, sweet_spot + 1) < least_trend) return 0;
  size_t begin = above;
  while (begin > sweet_spot + 1 && smooth[begin - 1] >= smooth[begin - 2]) --begin;
  return begin;
}

bool still_falling(const std::vector<double>& smooth_validation) {
  const size_t n = smooth_validation.size();
  const size_t window = std::max<size_t>(2, n / 5);
  const double before = smooth_validation[n - 1 - window], now = smooth_validation[n - 1];
  const double lowest = *std::min_element(smooth_validation.begin(), smooth_validation.end() - 1);
  return now < lowest && before - now > kLeastImprovement * std::abs(before);
}

bool underfits(const OverfittingAnalysis& a, double chance_loss) {
  // The lower of the two: mixed images or smoothed labels keep the training loss high also where
  // all is learnt.
  const double loss = std::min(a.final_train_loss, a.final_validation_loss);
  const bool close = a.final_gap <= kSmallGap * std::abs(a.final_train_loss);
  return chance_loss > 0 &&
         (loss > kGuessing * chance_loss || (loss > kHighLoss * chance_loss && close));
}

}  // namespace

double guessing_loss(int64_t num_classes) {
  return std::log(static_cast<double>(std::max<int64_t>(1, num_classes)));
}

std::vector<double> smoothed_curve(const std::vector<double>& curve) {
  std::vector<double> known;
  std::copy_if(curve.begin(), curve.end(), std::back_inserter(known), [](double value) {
    return std::isfinite(value);
  });
  known = smoothed(known);
  std::vector<double> result(curve.size(), std::numeric_limits<double>::quiet_NaN());
  size_t next = 0;
  for (size_t i = 0; i < curve.size(); ++i) {
    if (std::isfinite(curve[i])) result[i] = known[next++];
  }
  return result;
}

OverfittingAnalysis analyse_curves(const LearningCurves& curves, double chance_loss) {
  OverfittingAnalysis a;
  const KnownCurves known = known_curves(curves);
  const size_t n = known.epoch.size();
  a.epochs = static_cast<int64_t>(n);
  if (n == 0) return a;
  const std::vector<double>&validation = known.smooth_validation, &train = known.smooth_train;
  const auto spot = static_cast<size_t>(std::min_element(validation.begin(), validation.end()) -
                                        validation.begin());
  a.sweet_spot_epoch = known.epoch[spot];
  a.sweet_spot_loss = validation[spot];
  a.gap_at_sweet_spot = validation[spot] - train[spot];
  a.final_train_loss = train[n - 1];
  a.final_validation_loss = validation[n - 1];
  a.final_gap = a.final_validation_loss - a.final_train_loss;
  if (a.epochs < kLeastEpochsToJudge) return a;

  const size_t rise = lasting_rise(known, spot);
  if (rise > 0 && train[n - 1] < train[rise - 1]) {
    a.overfit_since = known.epoch[rise];
    a.verdict = Verdict::kOverfitting;
  } else if (rise > 0) {
    a.verdict = Verdict::kUnstable;
  } else if (still_falling(validation)) {
    a.verdict = Verdict::kStillImproving;
  } else {
    a.verdict = underfits(a, chance_loss) ? Verdict::kUnderfit : Verdict::kGood;
  }
  return a;
}

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kTooShort:
      return "too_short";
    case Verdict::kAverageLags:
      return "average_lags";
    case Verdict::kUnderfit:
      return "underfit";
    case Verdict::kStillImproving:
      return "still_improving";
    case Verdict::kGood:
      return "good";
    case Verdict::kOverfitting:
      return "overfitting";
    case Verdict::kUnstable:
      return "unstable";
  }
  return "";
}

bool rose_since(const OverfittingAnalysis& a) {
  return a.final_validation_loss - a.sweet_spot_loss > kLeastRise * std::abs(a.sweet_spot_loss);
}

}  // namespace lockstep
