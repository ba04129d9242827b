// What the two loss curves of a run say about it: sweet spot, generalisation gap, overfitting, and
// a verdict. Pure functions of arrays; verdict_text.h puts them into words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

// One value an epoch, the first of epoch 1; NaN or infinity = not known. The arrays may differ in
// length: what one lacks is not known. The training loss may be the one trained on (augmented,
// mixed, smoothed labels, auxiliary heads): validation below training is normal.
struct LearningCurves {
  std::vector<double> train_loss, validation_loss;
};

// Epochs with both losses that a verdict needs.
constexpr int64_t kLeastEpochsToJudge = 5;

enum class Verdict {
  kTooShort,     // too few epochs with both losses to say anything
  kAverageLags,  // averaged weights are validated that have hardly moved (average_lags of ema.h);
                 // the curves cannot tell, whoever knows the run sets it
  kUnderfit,     // both losses are high, close to each other, and no longer fall
  kStillImproving,  // validation loss was still falling when the run ended
  kGood,            // validation loss has stopped falling and does not rise
  kOverfitting,     // validation loss rises while training loss falls
  kUnstable,        // validation loss rises and training loss does not fall
};

struct OverfittingAnalysis {
  int64_t epochs = 0;  // with both losses known
  int64_t sweet_spot_epoch =
      0;  // of the lowest smoothed validation loss, the earliest of equals; from 1, 0 = none
  double sweet_spot_loss = 0;  // smoothed validation loss there
  double gap_at_sweet_spot =
      0;                 // generalisation gap: validation minus training loss, both smoothed
  double final_gap = 0;  // the same at the last epoch with both losses
  double final_train_loss = 0, final_validation_loss = 0;  // smoothed
  int64_t overfit_since =
      0;  // the epoch from which validation loss rises while training loss falls; 0 = it does not
  Verdict verdict = Verdict::kTooShort;
};

// Mean cross entropy of guessing among so many classes: their log; 0 for fewer than 1, which stands
// for "not known".
double guessing_loss(int64_t num_classes);

// The curve without its fluctuation, same length; values that are not known stay NaN and are passed
// over. Twice Tukey's "3H" (Exploratory Data Analysis, 1977, chapter 7): a running median of 3 with
// his end-point rule, which drops an epoch that stands alone, then weights 1/4, 1/2, 1/4, which
// keep a symmetric valley's floor where it is. Centred, hence without the lag that an exponential
// mean adds to the sweet spot.
std::vector<double> smoothed_curve(const std::vector<double>& curve);

// Overfitting is stated when, after the sweet spot, (1) the smoothed validation loss of the last
// three epochs or more lies above the sweet spot's by 2 % and by three times the fluctuation of
// single epochs, (2) a one-sided Mann-Kendall test (Mann 1945) finds the unsmoothed values rising,
// z >= 2.2 (1.3 where the smoothed rise is a fifth of the sweet spot's loss or more), and (3) the
// smoothed training loss is lower than where the rise began. A plateau, a lone spike or a rise that
// went back does not pass. `chance_loss`: guessing_loss, by which high losses are told; 0 = not
// known, and nothing is called underfit.
OverfittingAnalysis analyse_curves(const LearningCurves& curves, double chance_loss);

// Whether validation loss ended clearly above its lowest.
bool rose_since(const OverfittingAnalysis& analysis);

// "too_short", "average_lags", "underfit", "still_improving", "good", "overfitting",
// "unstable"
const char* verdict_name(Verdict verdict);

}  // namespace lockstep
