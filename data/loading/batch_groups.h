// How a global batch is cut into groups of consecutive images, and runs of groups into ranks'
// slices and those into micro-slices. The number of ranks is no part of where groups begin and end.
#pragma once

#include <cstdint>

#include "lockstep/core/base/image_groups.h"
#include "lockstep/data/loading/sampler.h"

namespace lockstep {

// A batch of `images` is max(1, floor(images / group_size)) groups whose sizes differ by at most
// one. With a group_size of 0 or 1 each image is one. REQUIRES: images >= 1.
ImageGroups groups_of_batch(int64_t images, int64_t group_size);

// Run `part` of the `num_parts` contiguous runs of groups into which `groups` are cut, whose
// numbers of groups differ by at most one. May have no groups.
ImageGroups run_of_groups(const ImageGroups& groups, int64_t part, int64_t num_parts);

// The images of the global batch that the groups hold.
IndexRange images_of(const ImageGroups& groups);

// The groups of those into which a batch of `images` is cut that hold `range`. Throws
// Error(kInternal) where it is not a run of whole groups.
ImageGroups groups_at(int64_t images, int64_t group_size, const IndexRange& range);

}  // namespace lockstep
