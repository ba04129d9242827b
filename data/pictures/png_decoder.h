// PNG (ISO/IEC 15948) by libpng. picture.h is the way in.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lockstep/data/pictures/picture.h"

namespace lockstep {

// Throw as read_picture_header does. The picture comes with the channels of its header, and not yet
// turned upright: of height x width as stored.
PictureHeader read_png_header(std::span<const uint8_t> bytes, const std::string& source);
Picture decode_png(std::span<const uint8_t> bytes, const std::string& source);

}  // namespace lockstep
