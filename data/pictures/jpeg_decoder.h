// JPEG (ITU-T T.81) by libjpeg-turbo. picture.h is the way in.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lockstep/data/pictures/picture.h"

namespace lockstep {

// As those of png_decoder.h.
PictureHeader read_jpeg_header(std::span<const uint8_t> bytes, const std::string& source);
Picture decode_jpeg(std::span<const uint8_t> bytes, const std::string& source);

}  // namespace lockstep
