#include "lockstep/distributed/training/shard_sums.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <iterator>

#include "lockstep/core/base/error.h"

namespace lockstep {

ShardSums::ShardSums(FlatParameters& parameters,
                     Communicator& communicator,
                     IndexRange whole_numbers)
    : parameters_(parameters), communicator_(communicator), whole_numbers_(whole_numbers) {}

at::Tensor ShardSums::extras() const {
  const at::Tensor& storage = parameters_.gradient_storage();
  return storage.narrow(
      0, parameters_.num_elements(), storage.numel() - parameters_.num_elements());
}

at::Tensor& ShardSums::place(size_t i) {
  while (i >= places_.size()) places_.push_back(at::empty_like(parameters_.gradient_storage()));
  return places_[i];
}

void ShardSums::begin_batch(int64_t num_shards) {
  const int rank = communicator_.rank(), ranks = communicator_.world_size();
  own_ = contiguous_part(num_shards, rank, ranks);
  tree_ = ShardTree(num_shards);
  adds_to_left_ = false;
  next_shard_ = own_.begin;
  push_next();
  if (num_shards == num_shards_) return;
  num_shards_ = num_shards;
  nodes_.clear();
  sums_directly_ = true;
  for (int r = 0; r < ranks; ++r) {
    const auto part = nodes_of(contiguous_part(num_shards, r, ranks), num_shards);
    if (r == rank) first_node_ = static_cast<int64_t>(nodes_.size());
    if (part.size() > 1) sums_directly_ = false;
    std::ranges::copy(part, std::back_inserter(nodes_));
  }
  if (nodes_.size() > 2) sums_directly_ = false;
}

void ShardSums::push_next() {
  below_ = tree_.stack().size();
  sums_ = next_shard_ < own_.end ? tree_.push({0, next_shard_}) : 0;
}

bool ShardSums::end_shard() {
  const at::NoGradGuard no_grad;
  const bool is_left = next_shard_++ % 2 == 0;  // of a pair: the right one comes next
  if (is_left) {
    left_extras_ = extras().clone();
    extras().zero_();
  } else {
    add_below(parameters_.gradient_storage(), 0, /*with_extras=*/true);
    place(tree_.stack().size() - 1).copy_(parameters_.gradient_storage());
  }
  adds_to_left_ = is_left;
  push_next();
  return is_left;
}

// To what the flat gradient holds from `begin` on, which is the topmost node before its sums.
void ShardSums::add_below(const at::Tensor& part, int64_t begin, bool with_extras) {
  if (adds_to_left_ && with_extras) extras().add_(left_extras_);
  for (int64_t sum = adds_to_left_ ? 1 : 0; sum < sums_; ++sum)
    part.add_(place(below_ - 1 - static_cast<size_t>(sum)).narrow(0, begin, part.numel()));
}

std::vector<at::Tensor> ShardSums::send(const BucketRange& bucket) {
  const at::NoGradGuard no_grad;
  const at::Tensor own = bucket.of(parameters_.gradient_storage());
  add_below(own, bucket.begin, bucket.last);
  if (communicator_.world_size() == 1) return {};
  if (sums_directly_) return {own};
  const int64_t n = own.numel(), whole = bucket.last ? whole_numbers_.size() : 0;
  const int64_t size = static_cast<int64_t>(nodes_.size()) * n + whole;
  at::Tensor& exchanged = exchanged_[{bucket.number, num_shards_}];
  if (!exchanged.defined()) exchanged = at::empty({size}, own.options());
  exchanged.zero_();
  const size_t nodes = tree_.stack().size();
  for (size_t i = 0; i < nodes; ++i) {
    const int64_t at = (first_node_ + static_cast<int64_t>(i)) * n;
    exchanged.narrow(0, at, n).copy_(i + 1 < nodes ? bucket.of(place(i)) : own);
  }
  if (whole > 0)
    exchanged.narrow(0, size - whole, whole).copy_(extras().narrow(0, whole_numbers_.begin, whole));
  return {exchanged};
}

void ShardSums::receive(const BucketRange& bucket) {
  const at::NoGradGuard no_grad;
  const at::Tensor sum = bucket.of(parameters_.gradient_storage());
  if (communicator_.world_size() > 1 && !sums_directly_) {
    const at::Tensor& exchanged = exchanged_.at({bucket.number, num_shards_});
    sum.copy_(sum_of_nodes(exchanged, sum.numel()));
    const int64_t whole = whole_numbers_.size();
    if (bucket.last)
      extras()
          .narrow(0, whole_numbers_.begin, whole)
          .copy_(exchanged.narrow(0, exchanged.numel() - whole, whole));
  }
  sum.add_(0.0);  // the sums of several ranks know no negative zero
}

// Of nodes of n numbers each, which are overwritten.
at::Tensor ShardSums::sum_of_nodes(const at::Tensor& exchanged, int64_t n) const {
  ShardTree tree(num_shards_);
  std::vector<at::Tensor> stack;
  for (const ShardNode& node : nodes_) {
    const int64_t i = static_cast<int64_t>(&node - nodes_.data());
    stack.push_back(exchanged.narrow(0, i * n, n));
    for (int64_t sums = tree.push(node); sums > 0; --sums) {
      const at::Tensor right = stack.back();
      stack.pop_back();
      stack.back().add_(right);
    }
  }
  LOCKSTEP_CHECK(stack.size() == 1, "the ranks' shards make no tree");
  return stack.front();
}

}  // namespace lockstep
