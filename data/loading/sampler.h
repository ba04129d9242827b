// Which image is where: this epoch's permutation, and a rank's contiguous slice of each global
// batch.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/data/loading/batch_cut.h"
#include "lockstep/data/loading/index_range.h"

namespace lockstep {

// A permutation of 0 … n-1 by (seed, epoch) alone (Fisher-Yates over counter-based numbers).
std::vector<int64_t> epoch_permutation(uint64_t seed, int64_t epoch, int64_t n);

// The global batches of one epoch over `indices`: every index exactly once; the last batch may be
// smaller.
class EpochSampler {
 public:
  // epoch counts from 0. `cut`: what slices are runs of.
  EpochSampler(std::vector<int64_t> indices,
               int64_t batch_size,
               uint64_t seed,
               int64_t epoch,
               const BatchCut& cut = {});
  int64_t num_batches() const;
  int64_t batch_size(int64_t batch) const;  // images of this global batch, all ranks together
  // This rank's slice of a global batch: positions within the batch, and the image indices there.
  IndexRange slice(int64_t batch, int64_t rank, int64_t world_size) const;
  std::vector<int64_t> indices(int64_t batch, IndexRange positions) const;
  // The image before a position of a global batch; before the first stands the last.
  int64_t index_before(int64_t batch, int64_t position) const;

 private:
  std::vector<int64_t> order_;
  int64_t batch_size_;
  BatchCut cut_;
};

}  // namespace lockstep
