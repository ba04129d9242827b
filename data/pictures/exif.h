// The one thing of EXIF that changes what a picture shows.
#pragma once

#include <cstdint>
#include <span>

namespace lockstep {

// The orientation, 1 (upright) to 8, from a TIFF structure as PNG's eXIf chunk and JPEG's APP1
// segment hold it (EXIF 2.3, section 4.6.4). 1 for whatever is damaged or absent.
int exif_orientation(std::span<const uint8_t> tiff);

}  // namespace lockstep
