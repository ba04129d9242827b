// The images a run trains on, and the batches they come in.
#pragma once

#include <cstdint>
#include <span>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/split.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/data/loading/sampler.h"
#include "lockstep/distributed/comm/topology.h"

namespace lockstep {

// The images a run uses, as every rank sees them; what it refers to must outlive the trainer.
struct TrainingData {
  ImageSetInfo info;
  std::span<const int32_t> train_labels, test_labels;
  TrainValidationSplit split;
  ImageSource* source = nullptr;
};

// This rank's slices of the batches of `epoch`, from batch `first` on, augmented. `data` and
// `sampler` must outlive the loader.
BatchLoader training_batches(const TrainingData& data,
                             const Config& config,
                             const BatchFormat& format,
                             const EpochSampler& sampler,
                             int64_t epoch,
                             int64_t first,
                             const Topology& topology);

}  // namespace lockstep
