// Digests of tensors as they lie in memory: to compare replicas of a state without sending it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

// A part of a run's state: dense memory of whole 32-bit words.
struct StatePart {
  std::string name;
  at::Tensor memory;
};

// Equal memory gives equal digests, on CPUs and GPUs; a change of any one 32-bit word always
// changes its part's, any other change all but once in 2^64.
class StateDigests {
 public:
  // All on one device. Later calls look at the same memory anew.
  explicit StateDigests(std::vector<StatePart> parts);

  const std::vector<StatePart>& parts() const { return parts_; }
  // Queues the digests of what the memory holds then. [parts] int64 on its device.
  at::Tensor compute() const;

 private:
  std::vector<StatePart> parts_;
};

}  // namespace lockstep
