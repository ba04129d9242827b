// Exact evaluation over all ranks: each sample once, integer counts.
#pragma once

#include <cstdint>
#include <span>

#include "lockstep/core/config/config_enums.h"
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

// The images to evaluate: what it refers to must outlive the call.
struct EvaluationImages {
  ImageSource& source;
  const ImageSetInfo& info;
  std::span<const int32_t> labels;  // of the whole split
  Split split = Split::kTest;
  std::span<const int64_t> indices;  // within the split; equal on every rank
  EvaluationViews views = EvaluationViews::kOne;
  // Batches are consecutive parts of all indices, and a rank takes whole ones: the result has the
  // same bits at any number of ranks. Else each rank cuts its own even part.
  bool fixed_batches = false;
};

// Rank r takes the r-th contiguous part of the indices, in batches of `batch_size` in `format`;
// sums travel once, in float64 and int64. Collective; every rank gets the same result. Images are 0
// for no indices (loss NaN, accuracy 0). `tally`, where there is one, is given this rank's
// predictions.
// REQUIRES: the model in evaluation mode, on format.device.
EvaluationResult evaluate(ImageClassifier& model,
                          const EvaluationImages& images,
                          const BatchFormat& format,
                          int64_t batch_size,
                          Communicator& communicator,
                          PredictionTally* tally = nullptr);

}  // namespace lockstep
