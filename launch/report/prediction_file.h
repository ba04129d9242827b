// test_predictions.json in a run directory: what the tested weights said of the test images.
#pragma once

#include <string>
#include <vector>

#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

constexpr const char* kPredictionFile = "test_predictions.json";

struct TestPredictions {
  std::vector<std::string> class_names;
  PredictionSummary summary;
  std::vector<std::string> pictures;  // of summary.worst: PNG in base64; empty: none
};

TestPredictions test_predictions(const TestReport& report);

// {"format_version", "images", "class_names", "confusion": [label][predicted],
//  "worst_mistakes": [{"index", "label", "predicted", "loss", "label_probability",
//                      "likeliest": [{"class", "probability"}], "picture"}]}
// Classes are numbered from 0; a number that is not finite is null.
std::string to_json(const TestPredictions& predictions);

// Throws Error(kBadData), naming `source`, for text that is not what to_json makes.
TestPredictions test_predictions_from_json(const std::string& text, const std::string& source);

}  // namespace lockstep
