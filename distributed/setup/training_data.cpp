#include "lockstep/distributed/setup/training_data.h"

namespace lockstep {

BatchLoader training_batches(const TrainingData& data,
                             const Config& config,
                             const BatchFormat& format,
                             const EpochSampler& sampler,
                             int64_t epoch,
                             int64_t first,
                             const Topology& topology) {
  LoaderOptions loader;
  loader.format = format;
  loader.prefetch_batches = config.data.prefetch_batches;
  loader.augmentation = config.data.augmentation;
  loader.seed = static_cast<uint64_t>(config.seed);
  loader.epoch = epoch;
  return BatchLoader(
      *data.source,
      data.info,
      data.train_labels,
      loader,
      sampler.num_batches() - first,
      [&sampler, first, rank = topology.rank, size = topology.world_size](int64_t i) {
        const IndexRange slice = sampler.slice(first + i, rank, size);
        return BatchRequest{.indices = sampler.indices(first + i, slice),
                            .global_size = sampler.batch_size(first + i),
                            .first_position = slice.begin,
                            .batch = first + i,
                            .index_before = sampler.index_before(first + i, slice.begin)};
      });
}

}  // namespace lockstep
