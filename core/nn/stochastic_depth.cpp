#include "lockstep/core/nn/stochastic_depth.h"

#include <ATen/TensorOperators.h>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/dropout.h"

namespace lockstep {

double stochastic_depth_rate(double last, int64_t block, int64_t num_blocks) {
  return last * static_cast<double>(block + 1) / static_cast<double>(num_blocks);
}

at::Tensor stochastic_depth(const at::Tensor& branch,
                            double rate,
                            int64_t block,
                            const StepContext& context) {
  LOCKSTEP_CHECK(rate >= 0 && rate < 1, "a stochastic depth rate of {}", rate);
  if (!context.training || rate == 0) return branch;
  std::vector<int64_t> sizes(static_cast<size_t>(branch.dim()), 1);
  sizes[0] = branch.size(0);
  const at::Tensor mask = random_mask(
      sizes,
      branch.options(),
      {.use = RandomUse::kStochasticDepth, .layer = static_cast<uint32_t>(block), .rate = rate},
      context);
  return branch * mask * (1.0 / (1.0 - rate));
}

}  // namespace lockstep
