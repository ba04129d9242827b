#include "lockstep/distributed/setup/training_data.h"

#include <algorithm>

namespace lockstep {
namespace {

LoaderOptions loader_options(const EpochBatchesOptions& options, int64_t epoch) {
  LoaderOptions loader;
  loader.format = options.format;
  loader.prefetch_batches = options.prefetch_batches;
  loader.augmentation = options.augmentation;
  loader.seed = options.seed;
  loader.epoch = epoch;
  return loader;
}

}  // namespace

int64_t updates_per_epoch(const TrainingData& data, int64_t batch_size) {
  return (static_cast<int64_t>(data.split.train.size()) + batch_size - 1) / batch_size;
}

at::Tensor first_training_images(const TrainingData& data, int64_t n) {
  const std::vector<int64_t>& all = data.split.train;
  BatchRequest request;
  request.indices.assign(all.begin(), all.begin() + std::min(n, static_cast<int64_t>(all.size())));
  request.global_size = static_cast<int64_t>(request.indices.size());
  return prepare_batch(*data.source, data.info, data.train_labels, {}, request).images;
}

std::vector<int64_t> slice_sizes(const EpochBatchesOptions& options, int64_t world_size) {
  std::vector<int64_t> sizes;
  for (int64_t rank = 0; rank < world_size; ++rank)
    sizes.push_back(slice_of_batch(options.batch_size, options.cut, rank, world_size).size());
  return sizes;
}

EpochBatches::EpochBatches(const TrainingData& data,
                           const EpochBatchesOptions& options,
                           int64_t epoch,
                           int64_t first,
                           const Topology& topology)
    : sampler_(data.split.train, options.batch_size, options.seed, epoch, options.cut),
      loader_(*data.source,
              data.info,
              data.train_labels,
              loader_options(options, epoch),
              sampler_.num_batches() - first,
              [this, first, rank = topology.rank, size = topology.world_size](int64_t i) {
                const IndexRange slice = sampler_.slice(first + i, rank, size);
                return BatchRequest{.indices = sampler_.indices(first + i, slice),
                                    .global_size = sampler_.batch_size(first + i),
                                    .first_position = slice.begin,
                                    .batch = first + i,
                                    .index_before = sampler_.index_before(first + i, slice.begin)};
              }) {}

}  // namespace lockstep
