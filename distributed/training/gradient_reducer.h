// Gradients of all ranks summed bucket by bucket while backward still runs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/training/bucket_transport.h"

namespace lockstep {

// Hooks every gradient but those of frozen parameters, which stay zero: it is moved into the flat
// float32 gradient buffer (added, from the second micro-slice of an update on), and when a bucket
// is complete in the last micro-slice its all-reduce starts. Buckets start in one fixed order on
// all ranks. Works with any torch::nn::Module taken over by FlatParameters. Order of calls, as a
// regular expression: (begin_update begin_backward+ (finish_update | finish_own))*.
class GradientReducer {
 public:
  // Parameters and communicator must outlive it; no other reducer may hook the same parameters.
  // num_extras: float slots that travel with the last bucket (loss, counts, batch-norm statistics).
  // transport: null for plain sums in the flat gradient.
  GradientReducer(FlatParameters& parameters,
                  Communicator& communicator,
                  int64_t num_extras,
                  std::unique_ptr<BucketTransport> transport = nullptr);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // [num_extras] float32: zeroed by begin_update, filled by the caller before finish_update, summed
  // over ranks after it.
  at::Tensor& extras();
  // Before the first forward of an update.
  void begin_update();
  // Before each backward of the update; `last` lets the buckets go.
  void begin_backward(bool last);
  // After the last backward: parameters that got no gradient count as zero; starts what has not
  // started, waits for everything. After it the flat gradient holds the sum over ranks and
  // micro-slices.
  void finish_update();
  // Instead of it, where nothing is to be summed yet: the flat gradient then holds this rank's own.
  void finish_own();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
