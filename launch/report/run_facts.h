// What a report says of a run in a few words.
#pragma once

#include <string>

#include "lockstep/core/training/overfitting.h"
#include "lockstep/launch/report/run_record.h"

namespace lockstep {

struct RunFacts {
  std::string description;  // "resnet20, bf16, 2 ranks on 1 host"
  std::string ending;       // "completed", "stopped early", "no end recorded", …
  std::string tone;         // of the ending: "good", "warn", "bad" or ""
  std::string ending_text;  // one sentence
  int64_t epochs_trained = 0;
  double best_validation_accuracy = kUnknown;
  double images_per_second = 0;  // over all epochs; 0: not known
  OverfittingAnalysis analysis;  // of the loss curves
  std::string verdict;           // in words, two lines
};

RunFacts run_facts(const RunRecord& run);

}  // namespace lockstep
