// A step's work on a GPU as CUDA graphs: recorded once for each size of a batch, then replayed, so
// that the host launches one thing instead of hundreds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "lockstep/data/loading/batch_loader.h"

namespace lockstep {

// The current stream is that of the caller; what it has queued comes before a step's work, and what
// it queues later behind it. Must go before the communicators whose operations are recorded.
class StepGraphs {
 public:
  // Throws Error(kInternal) in builds without CUDA.
  explicit StepGraphs(at::Device device);
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Does work(batch), on a copy of the batch at a place of its own: itself for the first batches of
  // a size, for which kernels are loaded and collectives connected, then as a replay. `work` queues
  // the same for every batch of a size, reads what else changes from device memory that stays where
  // it is, and neither waits for the device nor reads what it computes.
  // REQUIRES: the same sequence of global sizes on every rank; mixing in all batches or in none.
  void run(const Batch& batch, const std::function<void(const Batch&)>& work);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
