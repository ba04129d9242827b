// Exact evaluation over all ranks: each sample once, integer counts.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/core/nn/module_forward.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/training/predictions.h"

namespace lockstep {

struct EvaluationResult {
  double loss = 0;      // mean plain cross entropy
  double accuracy = 0;  // fraction, from integer counts
  int64_t correct = 0;
  int64_t images = 0;
};

// Evaluates `indices` of a split: rank r takes the r-th contiguous part, in batches of
// `batch_size`; sums travel once, in float64 and int64. Collective; every rank gets the same
// result. Images are 0 for no indices (loss NaN, accuracy 0). `tally`, where there is one, is given
// this rank's predictions.
EvaluationResult evaluate(ImageClassifier& model,
                          ImageSource& source,
                          const ImageSetInfo& info,
                          std::span<const int32_t> labels,
                          Split split,
                          const std::vector<int64_t>& indices,
                          const BatchFormat& format,
                          int64_t batch_size,
                          Communicator& communicator,
                          PredictionTally* tally = nullptr);

}  // namespace lockstep
