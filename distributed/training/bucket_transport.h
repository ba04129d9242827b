// How a bucket of gradients gets from this rank's own to the sum over all ranks'.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/core/training/flat_parameters.h"

namespace lockstep {

// A bucket's part of the flat gradient.
struct BucketRange {
  int64_t number = 0, begin = 0, end = 0;
  bool last = false;  // the extras behind the gradients belong to it

  at::Tensor of(const at::Tensor& flat) const { return flat.narrow(0, begin, end - begin); }
};

// Order of calls for each bucket, as a regular expression: (send receive)*. Calls for one bucket
// may come between those of another; all ranks call send for the buckets in the same order.
class BucketTransport {
 public:
  BucketTransport() = default;
  BucketTransport(const BucketTransport&) = delete;
  BucketTransport& operator=(const BucketTransport&) = delete;
  virtual ~BucketTransport() = default;
  // The bucket of the flat gradient holds what this rank has. Returns what is to be summed over
  // ranks in place: the same shapes on every rank, to stay untouched until receive.
  virtual std::vector<at::Tensor> send(const BucketRange& bucket) = 0;
  // They have been summed: writes the sum over ranks to the bucket of the flat gradient.
  virtual void receive(const BucketRange& bucket) = 0;
};

// Sums in the flat gradient itself. `parameters` must outlive it.
std::unique_ptr<BucketTransport> make_plain_transport(FlatParameters& parameters);
// Gradients as bfloat16, as PyTorch's bf16_compress_hook: rounded on each rank, with one rank too,
// and in each sum on their way; extras as float32. `parameters` must outlive it.
std::unique_ptr<BucketTransport> make_bfloat16_transport(FlatParameters& parameters);

}  // namespace lockstep
