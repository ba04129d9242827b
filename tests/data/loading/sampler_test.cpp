#include "lockstep/data/loading/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace lockstep {
namespace {

std::vector<int64_t> iota(int64_t n) {
  std::vector<int64_t> values(n);
  std::iota(values.begin(), values.end(), int64_t{0});
  return values;
}

std::vector<int64_t> sorted(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

TEST(ContiguousPart, CoversAllItemsInOrderWithSizesThatDifferByAtMostOne) {
  for (const int64_t total : {0, 1, 2, 5, 6, 7, 8, 100, 1001}) {
    for (const int64_t num_parts : {1, 2, 3, 4, 7, 16}) {
      int64_t end = 0, previous_size = total;
      for (int64_t part = 0; part < num_parts; ++part) {
        const IndexRange range = contiguous_part(total, part, num_parts);
        EXPECT_EQ(range.begin, end);
        EXPECT_GE(range.size(), total / num_parts);
        EXPECT_LE(range.size(), (total + num_parts - 1) / num_parts);
        EXPECT_LE(range.size(), previous_size) << "the larger parts come first";
        end = range.end;
        previous_size = range.size();
      }
      EXPECT_EQ(end, total);
    }
  }
}

TEST(Permutation, HoldsEveryNumberOnce) {
  for (const int64_t n : {0, 1, 2, 3, 1000, 40'000}) {
    EXPECT_EQ(sorted(epoch_permutation(1, 0, n)), iota(n));
  }
}

TEST(Permutation, IsAFunctionOfSeedAndEpoch) {
  const auto order = epoch_permutation(1, 2, 1000);
  EXPECT_EQ(epoch_permutation(1, 2, 1000), order);
  EXPECT_NE(epoch_permutation(1, 3, 1000), order);
  EXPECT_NE(epoch_permutation(2, 2, 1000), order);
  EXPECT_NE(epoch_permutation((uint64_t{1} << 40) + 1, 2, 1000), order);
  EXPECT_NE(order, iota(1000));
}

TEST(Permutation, PutsEveryNumberEverywhereEquallyOften) {
  // 24 orders of four numbers over 24,000 epochs: chi-squared with 23 degrees of freedom, 99.99 %
  // below 56.
  std::vector<std::vector<int64_t>> orders;
  std::vector<int64_t> order = iota(4);
  do orders.push_back(order);
  while (std::next_permutation(order.begin(), order.end()));
  std::vector<double> times(orders.size());
  for (int64_t epoch = 0; epoch < 24'000; ++epoch) {
    const auto found = std::find(orders.begin(), orders.end(), epoch_permutation(3, epoch, 4));
    ++times[found - orders.begin()];
  }
  double chi_squared = 0;
  for (const double count : times) chi_squared += (count - 1000) * (count - 1000) / 1000;
  EXPECT_LT(chi_squared, 56);
}

TEST(Sampler, CoversEveryIndexOnceAtAnyNumberOfRanks) {
  for (const int64_t n : {1, 5, 128, 1000, 1003}) {
    for (const int64_t batch_size : {1, 3, 128, 2000}) {
      std::vector<int64_t> indices(n);
      for (int64_t i = 0; i < n; ++i) indices[i] = 3 * i + 11;
      const EpochSampler sampler(indices, batch_size, 1, 0);
      std::vector<int64_t> one_rank_order;
      for (const int64_t world_size : {1, 2, 3, 4, 7}) {
        std::vector<int64_t> order;
        for (int64_t batch = 0; batch < sampler.num_batches(); ++batch) {
          int64_t end = 0;
          for (int64_t rank = 0; rank < world_size; ++rank) {
            const IndexRange slice = sampler.slice(batch, rank, world_size);
            EXPECT_EQ(slice.begin, end);
            end = slice.end;
            const auto part = sampler.indices(batch, slice);
            EXPECT_EQ(static_cast<int64_t>(part.size()), slice.size());
            order.insert(order.end(), part.begin(), part.end());
          }
          EXPECT_EQ(end, sampler.batch_size(batch));
        }
        EXPECT_EQ(sorted(order), indices)
            << n << " images, batches of " << batch_size << ", " << world_size << " ranks";
        if (world_size == 1) one_rank_order = order;
        EXPECT_EQ(order, one_rank_order) << "the ranks together see what one rank sees";
      }
    }
  }
}

TEST(Sampler, FillsAllBatchesButTheLast) {
  const EpochSampler sampler(iota(1003), 128, 1, 0);
  ASSERT_EQ(sampler.num_batches(), 8);
  for (int64_t batch = 0; batch < 7; ++batch) EXPECT_EQ(sampler.batch_size(batch), 128);
  EXPECT_EQ(sampler.batch_size(7), 1003 - 7 * 128);
}

TEST(Sampler, GivesEmptySlicesToRanksBeyondTheBatch) {
  const EpochSampler sampler(iota(10), 8, 1, 0);
  EXPECT_EQ(sampler.slice(1, 6, 7).size(), 0);
  EXPECT_TRUE(sampler.indices(1, sampler.slice(1, 6, 7)).empty());
}

TEST(Sampler, KnowsTheImageBeforeEachPosition) {
  const EpochSampler sampler(iota(10), 8, 1, 0);
  for (int64_t batch = 0; batch < 2; ++batch) {
    const int64_t size = sampler.batch_size(batch);
    const auto order = sampler.indices(batch, {0, size});
    EXPECT_EQ(sampler.index_before(batch, 0), order.back());
    for (int64_t i = 1; i < size; ++i)
      EXPECT_EQ(sampler.index_before(batch, i), order[static_cast<size_t>(i - 1)]);
  }
}

TEST(Sampler, OfNoImagesHasNoBatches) { EXPECT_EQ(EpochSampler({}, 128, 1, 0).num_batches(), 0); }

TEST(Sampler, ShufflesAnewEachEpoch) {
  const EpochSampler first(iota(500), 500, 1, 0), second(iota(500), 500, 1, 1);
  EXPECT_NE(first.indices(0, {0, 500}), second.indices(0, {0, 500}));
}

}  // namespace
}  // namespace lockstep
