#include "lockstep/distributed/training/shard_tree.h"

namespace lockstep {

int64_t ShardTree::push(ShardNode node) {
  stack_.push_back(node);
  int64_t sums = 0;
  for (;;) {
    const ShardNode top = stack_.back();
    const ShardNode parent{top.level + 1, top.number / 2};
    const bool is_root = (int64_t{1} << top.level) >= num_shards_;
    if (is_root) return sums;
    if (top.number % 2 == 0) {
      // Without shards to its right a node is its parent.
      if (((top.number + 1) << top.level) < num_shards_) return sums;
      stack_.back() = parent;
      continue;
    }
    const bool has_left =
        stack_.size() > 1 && stack_[stack_.size() - 2] == ShardNode{top.level, top.number - 1};
    if (!has_left) return sums;
    stack_.pop_back();
    stack_.back() = parent;
    ++sums;
  }
}

std::vector<ShardNode> nodes_of(const IndexRange& range, int64_t num_shards) {
  ShardTree tree(num_shards);
  for (int64_t shard = range.begin; shard < range.end; ++shard) tree.push({0, shard});
  return tree.stack();
}

}  // namespace lockstep
