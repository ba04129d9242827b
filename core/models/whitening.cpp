#include "lockstep/core/models/whitening.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

namespace lockstep::models {

at::Tensor whitening_filters(const at::Tensor& images, int64_t side) {
  constexpr double kEpsilon = 5e-4;
  constexpr int64_t kImagesAtOnce = 256;  // whose patches are held
  const int64_t channels = images.size(1), size = channels * side * side;
  at::Tensor moments = at::zeros({size, size}, at::kDouble);
  int64_t count = 0;
  for (const at::Tensor& some : images.split(kImagesAtOnce)) {
    const at::Tensor patches = some.unfold(2, side, 1)
                                   .unfold(3, side, 1)  // [N, C, H', W', side, side]
                                   .permute({0, 2, 3, 1, 4, 5})
                                   .reshape({-1, size})
                                   .to(at::kDouble);
    moments += at::mm(patches.t(), patches);
    count += patches.size(0);
  }
  const auto [values, vectors] =
      at::linalg_eigh(moments / count);  // in rising order, a column each
  const at::Tensor filters = (vectors / (values + kEpsilon).sqrt()).t().flip(0);
  return filters.to(at::kFloat).reshape({size, channels, side, side});
}

}  // namespace lockstep::models
