#include "lockstep/distributed/training/shard_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep {
namespace {

using testing::ElementsAre;

// What becomes of leaves "0", "1", … pushed as a rank does, then of all ranks' nodes.
struct Sums {
  ShardTree tree;
  std::vector<std::string> values;

  void push(ShardNode node, std::string value) {
    values.push_back(std::move(value));
    for (int64_t sums = tree.push(node); sums > 0; --sums) {
      const std::string right = values.back();
      values.pop_back();
      values.back() = "(" + values.back() + "+" + right + ")";
    }
  }
};

std::string summed_over(int64_t num_shards, int64_t ranks) {
  Sums all{ShardTree(num_shards), {}};
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const IndexRange part = contiguous_part(num_shards, rank, ranks);
    Sums own{ShardTree(num_shards), {}};
    for (int64_t shard = part.begin; shard < part.end; ++shard)
      own.push({0, shard}, std::to_string(shard));
    const auto nodes = nodes_of(part, num_shards);
    EXPECT_EQ(nodes, own.tree.stack());
    for (size_t i = 0; i < nodes.size(); ++i) all.push(nodes[i], own.values[i]);
  }
  EXPECT_EQ(all.values.size(), 1u);
  return all.values[0];
}

TEST(ShardTree, IsBinaryOverTheShardsNumbers) {
  EXPECT_EQ(summed_over(1, 1), "0");
  EXPECT_EQ(summed_over(2, 1), "(0+1)");
  EXPECT_EQ(summed_over(3, 1), "((0+1)+2)");
  EXPECT_EQ(summed_over(5, 1), "(((0+1)+(2+3))+4)");
  EXPECT_EQ(summed_over(7, 1), "(((0+1)+(2+3))+((4+5)+6))");
  EXPECT_EQ(summed_over(8, 1), "(((0+1)+(2+3))+((4+5)+(6+7)))");
}

TEST(ShardTree, IsTheSameForAnyNumberOfRanks) {
  for (int64_t num_shards = 1; num_shards <= 33; ++num_shards) {
    const std::string alone = summed_over(num_shards, 1);
    for (int64_t ranks = 2; ranks <= num_shards + 2; ++ranks)
      EXPECT_EQ(summed_over(num_shards, ranks), alone) << num_shards << " on " << ranks;
  }
}

TEST(ShardTree, ARankHasFewNodes) {
  EXPECT_THAT(nodes_of({0, 4}, 8), ElementsAre(ShardNode{2, 0}));
  EXPECT_THAT(nodes_of({3, 6}, 8), ElementsAre(ShardNode{0, 3}, ShardNode{1, 2}));
  EXPECT_THAT(nodes_of({4, 5}, 5), ElementsAre(ShardNode{2, 1}));
  EXPECT_THAT(nodes_of({2, 2}, 8), ElementsAre());
}

}  // namespace
}  // namespace lockstep
