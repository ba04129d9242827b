// What cuDNN would run a convolution on, on a GPU that is only described.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "tests/gpu/engines/convolution.h"

namespace lockstep::engines {

enum class Pass { kForward, kDataGradient, kWeightGradient };

class DescribedGpu {
 public:
  // An H100. Throws CudnnError where the installed cuDNN takes no description of a GPU.
  DescribedGpu();
  ~DescribedGpu();

  // The place of the first engine that says it computes on tensor cores among those that cuDNN's
  // heuristics rank, from 0: LibTorch takes the one at 0 when it does not benchmark. nullopt: none
  // of the first 8 does, and where none is ranked at all LibTorch falls back to the slow ones. For
  // `batch` images; all tensors but the weight lie at 16 bytes.
  std::optional<int64_t> rank_of_tensor_cores(const Convolution& convolution,
                                              Pass pass,
                                              int64_t batch) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::engines
