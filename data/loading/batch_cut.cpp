#include "lockstep/data/loading/batch_cut.h"

#include <algorithm>
#include <ranges>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// The image at which a shard begins; the number of images behind the last one.
int64_t begin_of_shard(int64_t images, const BatchCut& cut, int64_t shard) {
  return images_of(groups_of_shards(images, cut, {shard, shard})).begin;
}

}  // namespace

ImageGroups groups_of_batch(int64_t images, int64_t group_size) {
  LOCKSTEP_CHECK(images >= 1 && group_size >= 0, "{} images in groups of {}", images, group_size);
  const int64_t number = std::max<int64_t>(1, images / std::max<int64_t>(1, group_size));
  return {.images = images, .of = number, .first = 0, .count = number};
}

int64_t shards_of_batch(int64_t images, const BatchCut& cut) {
  const int64_t groups = groups_of_batch(images, cut.group_size).count;
  return cut.num_shards > 0 ? std::min(cut.num_shards, groups) : groups;
}

ImageGroups groups_of_shards(int64_t images, const BatchCut& cut, const IndexRange& shards) {
  ImageGroups groups = groups_of_batch(images, cut.group_size);
  const int64_t number = shards_of_batch(images, cut), all = groups.count;
  const auto first_group = [&](int64_t shard) {
    return shard == number ? all : contiguous_part(all, shard, number).begin;
  };
  groups.first = first_group(shards.begin);
  groups.count = first_group(shards.end) - groups.first;
  return groups;
}

IndexRange images_of(const ImageGroups& groups) {
  return {groups.border(groups.first), groups.border(groups.first + groups.count)};
}

IndexRange slice_of_batch(int64_t images, const BatchCut& cut, int64_t rank, int64_t world_size) {
  const IndexRange shards = contiguous_part(shards_of_batch(images, cut), rank, world_size);
  return images_of(groups_of_shards(images, cut, shards));
}

IndexRange shards_at(int64_t images, const BatchCut& cut, const IndexRange& range) {
  const auto borders = std::views::iota(int64_t{0}, shards_of_batch(images, cut));
  const auto shard_from = [&](int64_t image) {
    return *std::ranges::partition_point(
        borders, [&](int64_t shard) { return begin_of_shard(images, cut, shard) < image; });
  };
  const IndexRange shards{shard_from(range.begin), shard_from(range.end)};
  LOCKSTEP_CHECK(images_of(groups_of_shards(images, cut, shards)) == range,
                 "images {} to {} of a batch of {} are no run of whole shards",
                 range.begin,
                 range.end,
                 images);
  return shards;
}

}  // namespace lockstep
