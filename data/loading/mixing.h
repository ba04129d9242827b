// Mixup and CutMix: what one global batch's images are mixed with, and how.
#pragma once

#include <ATen/core/Tensor.h>

#include "lockstep/core/config/config.h"
#include "lockstep/data/loading/augmentation.h"

namespace lockstep {

// What happens to all images of one global batch. The partner of a position is the position before
// it, of the first the last: torchvision's batch.roll(1, 0), and as random as any, since an epoch's
// order is.
struct Mixing {
  double weight = 1;  // of the own image's label; the partner's has 1 - weight
  bool cutmix = false;
  // CutMix: rows [top, bottom) and columns [left, right) come from the partner.
  int64_t top = 0, left = 0, bottom = 0, right = 0;
};

inline bool mixes(const AugmentationConfig& config) {
  return config.mixup > 0 || config.cutmix > 0;
}

// By (seed, epoch, batch within the epoch) alone, as torchvision's reference training draws it: one
// weight a batch, from Beta(alpha, alpha); with both methods on, either with probability 1/2
// (RandomChoice). Mixup: Zhang et al. 2018, section 2. CutMix: Yun et al. 2019, section 3.1: a box
// of the image's aspect around a uniform center, its area 1 - weight before it is clipped at the
// borders; the weight is then what the clipped box leaves.
Mixing draw_mixing(const AugmentationConfig& config,
                   const ImageShape& shape,
                   uint64_t seed,
                   int64_t epoch,
                   int64_t batch);

// images [n + 1, C, H, W], normalised float32: the partner of a slice's first image, then the
// slice, so that each image's partner stands before it. Returns the mixed slice [n, C, H, W]:
// weight * image + (1 - weight) * partner, or the image with the partner's box. Any device and
// memory layout. Both methods commute with normalisation, but bytes would round mixup.
at::Tensor mix(const at::Tensor& images, const Mixing& mixing);

}  // namespace lockstep
