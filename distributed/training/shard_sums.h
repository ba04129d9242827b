// Sums over the virtual shards of reproducible mode: the same bits at any number of ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/training/shard_tree.h"

namespace lockstep {

// Each rank adds its shards' values, in order, by the tree of shard_tree.h; the ranks then exchange
// what they have of that tree in one all-reduce, in which each node has a place of its own that
// other ranks fill with zeros (x + 0 is x, whatever the order), and each finishes the tree. Order
// of calls, as a regular expression: (begin add* finish)*.
class ShardSums {
 public:
  // The communicator must outlive it.
  explicit ShardSums(Communicator& communicator) : communicator_(communicator) {}

  // A global batch of `num_shards` shards, of which each rank has a contiguous part
  // (contiguous_part).
  void begin(int64_t num_shards);
  // This rank's next shard's: [n] float32, the same n on every rank. Copied.
  void add(const at::Tensor& values);
  // Writes the sum over all shards to `values` ([n] float32), on every rank. `exact` ([m] float32,
  // may be empty): whole numbers of this rank's, replaced by their sum over ranks. Collective.
  void finish(const at::Tensor& values, const at::Tensor& exact);

 private:
  // A stack of tensors that follows the tree's.
  class Stack {
   public:
    void begin(int64_t num_shards);
    void push(ShardNode node, const at::Tensor& values);
    int64_t size() const { return static_cast<int64_t>(tree_.stack().size()); }
    const at::Tensor& at(int64_t i) const { return places_[static_cast<size_t>(i)]; }

   private:
    ShardTree tree_{1};
    std::vector<at::Tensor> places_;  // kept from batch to batch
  };

  Communicator& communicator_;
  int64_t num_shards_ = 0, next_shard_ = 0;
  Stack own_, all_;
};

}  // namespace lockstep
