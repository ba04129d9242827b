#include "lockstep/data/loading/batch_cut.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

TEST(BatchCut, GroupsDifferByAtMostOneImageAndHaveAtLeastTheirSize) {
  for (int64_t images = 1; images <= 200; ++images) {
    for (const int64_t size : {1, 2, 3, 16, 64, 300}) {
      const ImageGroups groups = groups_of_batch(images, size);
      EXPECT_EQ(groups.count, std::max<int64_t>(1, images / size));
      int64_t smallest = images, largest = 0, sum = 0;
      for (int64_t g = 0; g < groups.count; ++g) {
        smallest = std::min(smallest, groups.size(g));
        largest = std::max(largest, groups.size(g));
        sum += groups.size(g);
      }
      EXPECT_EQ(sum, images);
      EXPECT_LE(largest - smallest, 1);
      EXPECT_EQ(largest, groups.largest());
      EXPECT_GE(smallest, std::min(size, images));
    }
  }
}

TEST(BatchCut, ShardsAreRunsOfWholeGroupsAsManyAsAskedForOrAsThereAreGroups) {
  for (const int64_t images : {1, 15, 47, 100, 128}) {
    for (const int64_t size : {0, 16}) {
      for (const int64_t wanted : {0, 1, 3, 8}) {
        const BatchCut cut{.group_size = size, .num_shards = wanted};
        const ImageGroups all = groups_of_batch(images, size);
        const int64_t number = shards_of_batch(images, cut);
        EXPECT_EQ(number, wanted == 0 ? all.count : std::min(wanted, all.count));
        int64_t group = 0;
        for (int64_t shard = 0; shard < number; ++shard) {
          const ImageGroups of = groups_of_shards(images, cut, {shard, shard + 1});
          EXPECT_EQ(of.first, group);
          EXPECT_GE(of.count, all.count / number);
          EXPECT_LE(of.count, (all.count + number - 1) / number);
          group += of.count;
        }
        EXPECT_EQ(group, all.count);
      }
    }
  }
}

TEST(BatchCut, SlicesAreContiguousAndTheirShardsAreFoundAgain) {
  for (const int64_t images : {1, 15, 16, 47, 100, 128}) {
    for (const int64_t size : {0, 1, 16, 30}) {
      for (const int64_t wanted : {0, 8}) {
        const BatchCut cut{.group_size = size, .num_shards = wanted};
        const int64_t number = shards_of_batch(images, cut);
        for (const int64_t ranks : {1, 2, 3, 7, 130}) {
          int64_t image = 0;
          for (int64_t rank = 0; rank < ranks; ++rank) {
            const IndexRange slice = slice_of_batch(images, cut, rank, ranks);
            EXPECT_EQ(slice.begin, image);
            image = slice.end;
            EXPECT_EQ(shards_at(images, cut, slice), contiguous_part(number, rank, ranks));
          }
          EXPECT_EQ(image, images);
        }
      }
    }
  }
}

TEST(BatchCut, WithoutGroupsSlicesAreOfImages) {
  EXPECT_EQ(slice_of_batch(5, {}, 0, 2), (IndexRange{0, 3}));
  EXPECT_EQ(slice_of_batch(5, {.num_shards = 2}, 1, 2), (IndexRange{3, 5}));
}

TEST(BatchCut, PartsOfGroupsAreAnError) {
  const BatchCut cut{.group_size = 16};
  EXPECT_THROW(shards_at(48, cut, {0, 8}), Error);
  EXPECT_THROW(shards_at(48, cut, {8, 16}), Error);
  EXPECT_THROW(shards_at(47, cut, {0, 24}), Error);
  EXPECT_EQ(shards_at(47, cut, {0, 23}).size(), 1);
  EXPECT_THROW(shards_at(64, {.group_size = 16, .num_shards = 2}, {0, 16}), Error);
}

}  // namespace
}  // namespace lockstep
