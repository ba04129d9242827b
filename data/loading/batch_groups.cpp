#include "lockstep/data/loading/batch_groups.h"

#include <algorithm>

#include "lockstep/core/base/error.h"

namespace lockstep {

ImageGroups groups_of_batch(int64_t images, int64_t group_size) {
  LOCKSTEP_CHECK(images >= 1 && group_size >= 0, "{} images in groups of {}", images, group_size);
  const int64_t number = std::max<int64_t>(1, images / std::max<int64_t>(1, group_size));
  return {.images = images, .of = number, .first = 0, .count = number};
}

ImageGroups run_of_groups(const ImageGroups& groups, int64_t part, int64_t num_parts) {
  const IndexRange run = contiguous_part(groups.count, part, num_parts);
  ImageGroups found = groups;
  found.first += run.begin;
  found.count = run.size();
  return found;
}

IndexRange images_of(const ImageGroups& groups) {
  return {groups.border(groups.first), groups.border(groups.first + groups.count)};
}

ImageGroups groups_at(int64_t images, int64_t group_size, const IndexRange& range) {
  ImageGroups groups = groups_of_batch(images, group_size);
  // Group g begins at floor(g * images / of), so this is the one that may begin there.
  const auto group_from = [&](int64_t image) { return (image * groups.of + images - 1) / images; };
  groups.first = group_from(range.begin);
  groups.count = group_from(range.end) - groups.first;
  const IndexRange held = images_of(groups);
  LOCKSTEP_CHECK(held.begin == range.begin && held.end == range.end,
                 "images {} to {} of a batch of {} are not whole groups of {}",
                 range.begin,
                 range.end,
                 images,
                 group_size);
  return groups;
}

}  // namespace lockstep
