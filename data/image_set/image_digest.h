// The digests of an image set: one per block of images, and one of those for the whole.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/image_set/image_file.h"

namespace lockstep {

// xxh3-64 over the labels' bytes (int32, little-endian), then the images'.
uint64_t block_digest(std::span<const int32_t> labels, std::span<const uint8_t> images);

// xxh3-64 over the bytes of images alone: not in the file, but noted of images that were verified.
uint64_t images_digest(std::span<const uint8_t> images);

// xxh3-128, 32 hex digits, over shapes, class names, mean, std and all block digests. Two files of
// the same data have the same.
std::string image_set_digest(const ImageSetInfo& info,
                             const std::array<std::vector<uint64_t>, 2>& block_digests);

}  // namespace lockstep
