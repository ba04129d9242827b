// The one order in which what virtual shards hold is added up, whichever ranks have computed them:
// a binary tree over the shards' numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/data/loading/index_range.h"

namespace lockstep {

// The shards [number << level, (number + 1) << level) as far as there are any: a leaf at level 0.
struct ShardNode {
  int level = 0;
  int64_t number = 0;
  bool operator==(const ShardNode&) const = default;
};

// Takes nodes from left to right, each beside the one before, and says what becomes of them.
class ShardTree {
 public:
  explicit ShardTree(int64_t num_shards) : num_shards_(num_shards) {}

  // Puts the next node on top of the stack, and returns how many times the two topmost entries then
  // become one, their sum.
  int64_t push(ShardNode node);
  // What is on the stack, from the bottom.
  const std::vector<ShardNode>& stack() const { return stack_; }

 private:
  int64_t num_shards_;
  std::vector<ShardNode> stack_;
};

// The nodes that the shards of `range`, and nobody else's, add up to.
std::vector<ShardNode> nodes_of(const IndexRange& range, int64_t num_shards);

}  // namespace lockstep
