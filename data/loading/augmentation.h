// Random crops, flips, cutout and random erasing on batches of bytes.
#pragma once

#include <cstdint>
#include <span>

#include "lockstep/core/config/config.h"

namespace lockstep {

struct ImageShape {
  int64_t channels = 3, height = 32, width = 32;
};

// In place on images [indices.size(), C, H, W] uint8, in this order: padded random crop, horizontal
// flip, cutout, random erasing (Zhong et al. 2020, algorithm 1, as
// torchvision.transforms.RandomErasing with its defaults: area 2 to 33 %, aspect 0.3 to 3.3, ten
// attempts). Cutout and erasing blank to the byte nearest to the channel mean, which is
// torchvision's 0 after normalisation. What happens to an image is a function of (seed, epoch,
// image index) alone.
void augment(const AugmentationConfig& config,
             const ImageShape& shape,
             uint64_t seed,
             int64_t epoch,
             std::span<const int64_t> indices,
             std::span<const uint8_t> blank,
             uint8_t* images);

}  // namespace lockstep
