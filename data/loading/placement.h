// Augmentation in two halves: what is drawn for an image, and doing it.
#pragma once

#include <cstdint>
#include <span>

#include "lockstep/core/config/config.h"
#include "lockstep/core/kernels/image_placement.h"
#include "lockstep/data/loading/augmentation.h"

namespace lockstep {

// What augment() does to the image of this index. Of the result, `image` is the index and `label`
// is 0.
ImagePlacement draw_placement(const AugmentationConfig& config,
                              const ImageShape& shape,
                              uint64_t seed,
                              int64_t epoch,
                              int64_t index);

// In place on one image [C, H, W]. `blank`: [C], looked at only where something is blanked.
void place(const ImagePlacement& placement,
           const ImageShape& shape,
           std::span<const uint8_t> blank,
           uint8_t* image);

}  // namespace lockstep
