#include "lockstep/core/nn/dropout.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/random/dropout_draws.h"
#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/nn/dropout_cuda.h"
#endif

namespace lockstep {

at::Tensor random_mask(at::IntArrayRef sizes,
                       const at::TensorOptions& options,
                       const MaskPurpose& purpose,
                       const StepContext& context) {
  LOCKSTEP_CHECK(!sizes.empty(), "a random mask without a dimension of samples");
  const MaskDraws draws{
      .random = Philox(context.seed, purpose.use),
      .threshold = static_cast<uint64_t>(std::llround(std::ldexp(purpose.rate, 32))),
      .first_position = static_cast<uint32_t>(context.first_position),
      .step = static_cast<uint32_t>(context.step),
      .layer = purpose.layer,
      .samples = sizes[0],
      .elements = c10::multiply_integers(sizes.slice(1)),
  };
#ifdef LOCKSTEP_WITH_CUDA
  if (options.device().is_cuda())
    return random_mask_cuda(sizes, options, draws, context.device_step);
#endif
  at::Tensor mask = at::empty(sizes, at::kByte);
  uint8_t* out = mask.mutable_data_ptr<uint8_t>();
  for (int64_t sample = 0; sample < draws.samples; ++sample) {
    for (int64_t draw = 0; draw < draws.draws_per_sample(); ++draw) {
      draws.write(sample, draw, uint8_t{1}, out);
    }
  }
  return mask.to(options);
}

at::Tensor dropout_mask(const at::Tensor& x,
                        double rate,
                        uint32_t layer,
                        const StepContext& context) {
  return random_mask(x.sizes(), x.options(), {RandomUse::kDropout, layer, rate}, context);
}

at::Tensor dropout(const at::Tensor& x, double rate, uint32_t layer, const StepContext& context) {
  LOCKSTEP_CHECK(rate >= 0 && rate < 1, "a dropout rate of {}", rate);
  if (!context.training || rate == 0) return x;
  // Two products, since 1 / (1 - rate) need not be a bfloat16.
  return x * dropout_mask(x, rate, layer, context) * (1.0 / (1.0 - rate));
}

}  // namespace lockstep
