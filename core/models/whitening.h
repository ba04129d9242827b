// Filters that whiten a set's patches.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep::models {

// images [N, C, H, W] float32 on the CPU. Returns [C * side * side, C, side, side]: the
// eigenvectors of the patches' second moments, largest eigenvalue first, of the sign that makes the
// largest component positive, each divided by the root of its eigenvalue (plus 5e-4), so that what
// they find in the images is uncorrelated and of variance about 1 (Jordan 2024, listing 4; Page
// 2019, "How to train your ResNet", part 8).
at::Tensor whitening_filters(const at::Tensor& images, int64_t side);

}  // namespace lockstep::models
