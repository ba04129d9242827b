// What the tested weights got right and wrong, as HTML.
#pragma once

#include <string>

#include "lockstep/launch/report/prediction_file.h"

namespace lockstep {

// A confusion matrix (beyond 40 classes: the most confused pairs) and the accuracy of each class
// (beyond 40: of the worst and the best).
std::string class_figures(const TestPredictions& predictions);

// The worst mistakes as pictures with their probabilities.
std::string mistake_cards(const TestPredictions& predictions);

}  // namespace lockstep
