#include "lockstep/distributed/training/shard_sums.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "lockstep/core/base/error.h"

namespace lockstep {

void ShardSums::Stack::begin(int64_t num_shards) { tree_ = ShardTree(num_shards); }

void ShardSums::Stack::push(ShardNode node, const at::Tensor& values) {
  const auto place = static_cast<size_t>(size());
  if (place == places_.size()) places_.push_back(at::empty_like(values));
  places_[place].copy_(values);
  const int64_t sums = tree_.push(node);
  for (int64_t i = 0; i < sums; ++i) {
    const size_t left = place - 1 - static_cast<size_t>(i);
    places_[left].add_(places_[left + 1]);
  }
}

void ShardSums::begin(int64_t num_shards) {
  num_shards_ = num_shards;
  next_shard_ = contiguous_part(num_shards, communicator_.rank(), communicator_.world_size()).begin;
  own_.begin(num_shards);
}

void ShardSums::add(const at::Tensor& values) {
  const at::NoGradGuard no_grad;
  own_.push({0, next_shard_++}, values);
}

void ShardSums::finish(const at::Tensor& values, const at::Tensor& exact) {
  const at::NoGradGuard no_grad;
  const int ranks = communicator_.world_size();
  std::vector<ShardNode> nodes;
  int64_t first = 0;  // of this rank's nodes
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == communicator_.rank()) first = static_cast<int64_t>(nodes.size());
    const auto part = nodes_of(contiguous_part(num_shards_, rank, ranks), num_shards_);
    nodes.insert(nodes.end(), part.begin(), part.end());
  }
  if (ranks == 1) {
    LOCKSTEP_CHECK(own_.size() == 1, "{} of {} shards were added", next_shard_, num_shards_);
    values.copy_(own_.at(0));
  } else {
    const int64_t n = values.numel(), count = static_cast<int64_t>(nodes.size());
    const at::Tensor exchanged = at::zeros({count * n + exact.numel()}, values.options());
    const auto place = [&](int64_t i) { return exchanged.narrow(0, i * n, n); };
    for (int64_t i = 0; i < own_.size(); ++i) place(first + i).copy_(own_.at(i));
    exchanged.narrow(0, count * n, exact.numel()).copy_(exact);
    communicator_.all_reduce(exchanged, "shards' gradients");
    exact.copy_(exchanged.narrow(0, count * n, exact.numel()));
    all_.begin(num_shards_);
    for (int64_t i = 0; i < count; ++i) all_.push(nodes[static_cast<size_t>(i)], place(i));
    LOCKSTEP_CHECK(all_.size() == 1, "the ranks' shards make no tree");
    values.copy_(all_.at(0));
  }
  values.add_(0.0);  // the sums of several ranks know no negative zero
}

}  // namespace lockstep
