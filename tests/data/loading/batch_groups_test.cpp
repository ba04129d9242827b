#include "lockstep/data/loading/batch_groups.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

TEST(BatchGroups, OfABatchDifferByAtMostOneImageAndHaveAtLeastTheirSize) {
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

TEST(BatchGroups, RunsOfThemAreContiguousAndFoundAgainFromTheirImages) {
  for (const int64_t images : {1, 15, 16, 47, 100, 128}) {
    for (const int64_t size : {0, 1, 16, 30}) {
      const ImageGroups all = groups_of_batch(images, size);
      for (const int64_t ranks : {1, 2, 3, 7, 130}) {
        int64_t image = 0;
        for (int64_t rank = 0; rank < ranks; ++rank) {
          const ImageGroups run = run_of_groups(all, rank, ranks);
          EXPECT_LE(run.count, (all.count + ranks - 1) / ranks);
          EXPECT_GE(run.count, all.count / ranks);
          const IndexRange range = images_of(run);
          EXPECT_EQ(range.begin, image);
          image = range.end;
          const ImageGroups again = groups_at(images, size, range);
          EXPECT_EQ(again.first, run.first);
          EXPECT_EQ(again.count, run.count);
        }
        EXPECT_EQ(image, images);
      }
    }
  }
}

TEST(BatchGroups, WithoutASizeEachImageIsOne) {
  EXPECT_EQ(groups_of_batch(5, 0).count, 5);
  EXPECT_EQ(images_of(run_of_groups(groups_of_batch(5, 0), 1, 2)).begin, 3);
}

TEST(BatchGroups, PartsOfGroupsAreAnError) {
  EXPECT_THROW(groups_at(48, 16, {0, 8}), Error);
  EXPECT_THROW(groups_at(48, 16, {8, 16}), Error);
  EXPECT_THROW(groups_at(47, 16, {0, 24}), Error);
  EXPECT_EQ(groups_at(47, 16, {0, 23}).count, 1);
}

}  // namespace
}  // namespace lockstep
