// The images a run trains on, and the batches they come in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/train_validation_split.h"
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

// Batches of `batch_size` images, the last one maybe smaller, that make an epoch.
int64_t updates_per_epoch(const TrainingData& data, int64_t batch_size);

// The first n images to train on, or all there are: [n, C, H, W] float32, normalised, as they are,
// on the CPU.
at::Tensor first_training_images(const TrainingData& data, int64_t n);

struct EpochBatchesOptions {
  int64_t batch_size = 128;  // global
  BatchCut cut;              // what slices are runs of
  uint64_t seed = 1;         // of permutation, augmentation and mixing, each with the epoch
  int64_t prefetch_batches = 2;
  AugmentationConfig augmentation;
  BatchFormat format;
};

// Images that each rank has of a full batch.
std::vector<int64_t> slice_sizes(const EpochBatchesOptions& options, int64_t world_size);

// This rank's slices of the batches of one epoch, from one of them on, augmented. Prepared ahead by
// a thread.
class EpochBatches {
 public:
  // `epoch` and `first` (the first batch wanted) count from 0. `data` must outlive it.
  EpochBatches(const TrainingData& data,
               const EpochBatchesOptions& options,
               int64_t epoch,
               int64_t first,
               const Topology& topology);
  EpochBatches(const EpochBatches&) = delete;
  EpochBatches& operator=(const EpochBatches&) = delete;

  // Of the epoch, those before the first wanted included.
  int64_t num_batches() const { return sampler_.num_batches(); }
  // REQUIRES: called at most num_batches() - first times.
  Batch next() { return loader_.next(); }
  // Seconds that next() has waited so far.
  double wait_seconds() const { return loader_.wait_seconds(); }

 private:
  EpochSampler sampler_;
  BatchLoader loader_;  // its thread asks the sampler
};

}  // namespace lockstep
