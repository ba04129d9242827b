#include "lockstep/data/loading/sampler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/random/random.h"

namespace lockstep {

std::vector<int64_t> epoch_permutation(uint64_t seed, int64_t epoch, int64_t n) {
  LOCKSTEP_CHECK(
      n >= 0 && n <= std::numeric_limits<uint32_t>::max(), "cannot permute {} images", n);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  const Philox random(seed, RandomUse::kPermutation);
  for (int64_t i = 0; i + 1 < n; ++i) {
    const uint32_t value = random(static_cast<uint32_t>(i),
                                  0,
                                  static_cast<uint32_t>(epoch),
                                  static_cast<uint32_t>(static_cast<uint64_t>(epoch) >> 32))[0];
    std::swap(order[i], order[i + bounded(value, static_cast<uint32_t>(n - i))]);
  }
  return order;
}

EpochSampler::EpochSampler(std::vector<int64_t> indices,
                           int64_t batch_size,
                           uint64_t seed,
                           int64_t epoch,
                           const BatchCut& cut)
    : order_(epoch_permutation(seed, epoch, static_cast<int64_t>(indices.size()))),
      batch_size_(batch_size),
      cut_(cut) {
  LOCKSTEP_CHECK(batch_size >= 1, "a global batch of {} images", batch_size);
  for (int64_t& position : order_) position = indices[position];
}

int64_t EpochSampler::num_batches() const {
  return (static_cast<int64_t>(order_.size()) + batch_size_ - 1) / batch_size_;
}

int64_t EpochSampler::batch_size(int64_t batch) const {
  LOCKSTEP_CHECK(batch >= 0 && batch < num_batches(), "batch {} of {}", batch, num_batches());
  return std::min(batch_size_, static_cast<int64_t>(order_.size()) - batch * batch_size_);
}

IndexRange EpochSampler::slice(int64_t batch, int64_t rank, int64_t world_size) const {
  return slice_of_batch(batch_size(batch), cut_, rank, world_size);
}

std::vector<int64_t> EpochSampler::indices(int64_t batch, IndexRange positions) const {
  LOCKSTEP_CHECK(positions.begin >= 0 && positions.begin <= positions.end &&
                     positions.end <= batch_size(batch),
                 "positions [{}, {}) of a batch of {}",
                 positions.begin,
                 positions.end,
                 batch_size(batch));
  const auto first = order_.begin() + batch * batch_size_;
  return {first + positions.begin, first + positions.end};
}

int64_t EpochSampler::index_before(int64_t batch, int64_t position) const {
  const int64_t size = batch_size(batch);
  return order_[static_cast<size_t>(batch * batch_size_ + (position + size - 1) % size)];
}

}  // namespace lockstep
