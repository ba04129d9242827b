// Pictures as PNG (ISO/IEC 15948), through libpng.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace lockstep {

// The bytes of a PNG file. image: [channels, height, width] u8; three channels are red, green and
// blue, of any other number the first is shown in grey. Sides longer than `longest_side` are shown
// by every n-th pixel. Throws Error(kInternal) when the sizes are no picture's.
std::string png_bytes(std::span<const uint8_t> image,
                      int64_t channels,
                      int64_t height,
                      int64_t width,
                      int64_t longest_side = 256);

}  // namespace lockstep
