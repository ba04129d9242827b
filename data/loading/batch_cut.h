// How a global batch is cut: consecutive images into groups, runs of groups into shards, runs of
// shards into ranks' slices. The number of ranks is no part of where groups and shards begin and
// end.
#pragma once

#include <cstdint>

#include "lockstep/core/base/image_groups.h"
#include "lockstep/data/loading/index_range.h"

namespace lockstep {

struct BatchCut {
  int64_t group_size = 0;  // of groups_of_batch(): what batch norm normalises together
  // What is computed by itself, in reproducible mode: so many runs of groups, or as many as there
  // are groups. 0: each group is a shard.
  int64_t num_shards = 0;
};

// A batch of `images` is max(1, floor(images / group_size)) groups whose sizes differ by at most
// one. With a group_size of 0 or 1 each image is one. REQUIRES: images >= 1.
ImageGroups groups_of_batch(int64_t images, int64_t group_size);

int64_t shards_of_batch(int64_t images, const BatchCut& cut);
// The groups of some neighbouring shards.
ImageGroups groups_of_shards(int64_t images, const BatchCut& cut, const IndexRange& shards);

// The images of the global batch that the groups hold.
IndexRange images_of(const ImageGroups& groups);

// The images of a rank's contiguous part of the shards. May be none.
IndexRange slice_of_batch(int64_t images, const BatchCut& cut, int64_t rank, int64_t world_size);

// The shards that hold `range` of the batch's images. Throws Error(kInternal) where it is not a run
// of whole ones.
IndexRange shards_at(int64_t images, const BatchCut& cut, const IndexRange& range);

}  // namespace lockstep
