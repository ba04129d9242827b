// torch.cat over channels without its copies: branches write their results into slices of one
// channels-last tensor, and get slices of its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lockstep {

class ChannelConcatenation {
 public:
  // Of `channels` channels in all; images, places, dtype and device as `like`'s ([N, C, H, W]).
  ChannelConcatenation(const at::Tensor& like, int64_t channels);

  // Where the next branch writes its result, [N, channels, H, W]: BatchNorm::forward()'s `into`.
  at::Tensor next(int64_t channels);

  // The whole, [N, channels, H, W], once every slice is written: `branches` are the results, in the
  // order of next(). Differentiable in them.
  at::Tensor join(const std::vector<at::Tensor>& branches);

 private:
  at::Tensor whole_;
  int64_t given_ = 0;
};

}  // namespace lockstep
