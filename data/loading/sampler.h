// Which image is where: this epoch's permutation, and a rank's contiguous slice of each global
// batch.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep {

struct IndexRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Part `part` of `total` items cut into `num_parts` contiguous parts whose sizes differ by at most
// one (the first ones are larger). May be empty.
IndexRange contiguous_part(int64_t total, int64_t part, int64_t num_parts);

// A permutation of 0 … n-1 by (seed, epoch) alone (Fisher-Yates over counter-based numbers).
std::vector<int64_t> epoch_permutation(uint64_t seed, int64_t epoch, int64_t n);

// The global batches of one epoch over `indices`: every index exactly once; the last batch may be
// smaller.
class EpochSampler {
 public:
  // epoch counts from 0. `group_size`: slices are runs of whole groups of so many images
  // (batch_groups.h); 0: of images.
  EpochSampler(std::vector<int64_t> indices,
               int64_t batch_size,
               uint64_t seed,
               int64_t epoch,
               int64_t group_size = 0);
  int64_t num_batches() const;
  int64_t batch_size(int64_t batch) const;  // images of this global batch, all ranks together
  // This rank's slice of a global batch: positions within the batch, and the image indices there.
  IndexRange slice(int64_t batch, int64_t rank, int64_t world_size) const;
  std::vector<int64_t> indices(int64_t batch, IndexRange positions) const;
  // The image before a position of a global batch; before the first stands the last.
  int64_t index_before(int64_t batch, int64_t position) const;

 private:
  std::vector<int64_t> order_;
  int64_t batch_size_, group_size_;
};

}  // namespace lockstep
