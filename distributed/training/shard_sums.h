// Sums over the virtual shards of reproducible mode: the same bits at any number of ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "lockstep/data/loading/index_range.h"
#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/training/bucket_transport.h"
#include "lockstep/distributed/training/shard_tree.h"

namespace lockstep {

// Each rank adds up its shards' gradients, in order, by the tree of shard_tree.h. The ranks then
// exchange what they have of that tree in an all-reduce, in which each node has a place of its own
// that other ranks fill with zeros (x + 0 is x, whatever the order), and each finishes the tree.
// Bucket by bucket, while the backward pass of the last shard still runs. Order of calls, as a
// regular expression: (begin_batch end_shard* (send | receive)*)*, with end_shard after each of the
// rank's shards but the last.
class ShardSums final : public BucketTransport {
 public:
  // `whole_numbers`: of the extras, those that are not shards' but this rank's, and whole: exact in
  // any order. Parameters and communicator must outlive it; extras have been reserved.
  ShardSums(FlatParameters& parameters, Communicator& communicator, IndexRange whole_numbers);

  // A global batch of `num_shards` shards, of which each rank has a contiguous part
  // (contiguous_part).
  void begin_batch(int64_t num_shards);
  // The flat gradient and the extras hold the next shard's. True: the gradients of the one after
  // are to be added to them, its extras stand by themselves (they are zero now). False: the flat
  // gradient begins anew.
  bool end_shard();
  std::vector<at::Tensor> send(const BucketRange& bucket) override;
  void receive(const BucketRange& bucket) override;

 private:
  at::Tensor extras() const;
  at::Tensor& place(size_t i);
  void push_next();
  void add_below(const at::Tensor& part, int64_t begin, bool with_extras);
  at::Tensor sum_of_nodes(const at::Tensor& exchanged, int64_t n) const;

  FlatParameters& parameters_;
  Communicator& communicator_;
  IndexRange whole_numbers_;
  int64_t num_shards_ = 0;
  std::vector<ShardNode> nodes_;  // of all ranks, in order
  int64_t first_node_ = 0;        // of this rank's among them
  // In place, in whatever order: two terms at most, the others zero, give the same bits.
  bool sums_directly_ = true;
  IndexRange own_;                  // shards
  int64_t next_shard_ = 0;          // of own_, that has not ended
  ShardTree tree_{1};               // of own_, up to the next shard
  size_t below_ = 0;                // nodes on the stack before the next shard
  int64_t sums_ = 0;                // that it makes with them
  bool adds_to_left_ = false;       // the first of these sums is made as its gradients arrive
  at::Tensor left_extras_;          // of the shard before, then
  std::vector<at::Tensor> places_;  // what the stack holds but for its topmost; kept
  std::map<std::pair<int64_t, int64_t>, at::Tensor> exchanged_;  // by bucket and number of shards
};

}  // namespace lockstep
