#include "lockstep/core/models/whitening.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/zeros.h>

#include <vector>

namespace lockstep::models {
namespace {

// [C * side * side, C * side * side] float64, by loops of our own: in the same order on every
// machine, which a library's product is not. Of what differs in eigenvectors by rounding alone
// nothing is left in float32 filters.
at::Tensor moments_of_patches(const at::Tensor& images, int64_t side) {
  const at::Tensor given = images.contiguous();
  const auto* pixels = given.const_data_ptr<float>();
  const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  std::vector<int64_t> offsets;  // of a patch's values behind its first one
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t x = 0; x < side; ++x) offsets.push_back((c * height + y) * width + x);
    }
  }
  const auto size = static_cast<int64_t>(offsets.size());
  at::Tensor moments = at::zeros({size, size}, at::kDouble);
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (int64_t n = 0; n < images.size(0); ++n) {
        const float* image = pixels + n * channels * height * width;
        const float* a = image + offsets[static_cast<size_t>(i)];
        const float* b = image + offsets[static_cast<size_t>(j)];
        for (int64_t y = 0; y + side <= height; ++y, a += width, b += width) {
          for (int64_t x = 0; x + side <= width; ++x)
            sum += static_cast<double>(a[x]) * static_cast<double>(b[x]);
        }
      }
      moments[i][j] = moments[j][i] = sum;
    }
  }
  return moments / (images.size(0) * (height - side + 1) * (width - side + 1));
}

}  // namespace

at::Tensor whitening_filters(const at::Tensor& images, int64_t side) {
  constexpr double kEpsilon = 5e-4;
  const int64_t size = images.size(1) * side * side;
  const auto [values, vectors] = at::linalg_eigh(moments_of_patches(images, side));
  // In rising order, a column each, and of either sign, which is the library's choice: here the
  // largest component is positive.
  const at::Tensor largest = vectors.gather(0, vectors.abs().argmax(0, /*keepdim=*/true));
  const at::Tensor filters = (vectors * largest.sign() / (values + kEpsilon).sqrt()).t().flip(0);
  return filters.to(at::kFloat).reshape({size, images.size(1), side, side});
}

}  // namespace lockstep::models
