#include "core/dropout.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace lockstep {

at::Tensor random_mask(at::IntArrayRef sizes,
                       const at::TensorOptions& options,
                       double rate,
                       RandomUse use,
                       uint32_t layer,
                       const StepContext& context) {
  at::Tensor mask = at::empty(sizes, at::kByte);
  const int64_t samples = mask.size(0);
  const int64_t elements = samples == 0 ? 0 : mask.numel() / samples;
  uint8_t* out = samples == 0 ? nullptr : mask.mutable_data_ptr<uint8_t>();
  const Philox random(context.seed, use);
  const auto step = static_cast<uint32_t>(context.step);
  // 2^32 is above every word, so that a rate next to 1 still keeps nothing it should drop.
  const auto threshold = static_cast<uint64_t>(std::llround(std::ldexp(rate, 32)));
  for (int64_t sample = 0; sample < samples; ++sample, out += elements) {
    const auto position = static_cast<uint32_t>(context.first_position + sample);
    for (int64_t i = 0; i < elements; i += 4) {
      const auto words = random(static_cast<uint32_t>(i / 4), position, step, layer);
      const int64_t count = std::min<int64_t>(4, elements - i);
      for (int64_t j = 0; j < count; ++j) out[i + j] = words[static_cast<size_t>(j)] >= threshold;
    }
  }
  return mask.to(options);
}

at::Tensor dropout_mask(const at::Tensor& x,
                        double rate,
                        uint32_t layer,
                        const StepContext& context) {
  return random_mask(x.sizes(), x.options(), rate, RandomUse::kDropout, layer, context);
}

at::Tensor dropout(const at::Tensor& x, double rate, uint32_t layer, const StepContext& context) {
  LOCKSTEP_CHECK(rate >= 0 && rate < 1, "a dropout rate of {}", rate);
  if (!context.training || rate == 0) return x;
  // Two products, since 1 / (1 - rate) need not be a bfloat16.
  return x * dropout_mask(x, rate, layer, context) * (1.0 / (1.0 - rate));
}

}  // namespace lockstep
