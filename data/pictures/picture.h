// Pictures from files that nobody vouches for, as planes of bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

struct Picture {
  int64_t channels = 0, height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [channels, height, width]
};

// What the first bytes say of a picture.
struct PictureHeader {
  int64_t height = 0, width = 0;  // upright, as decoded
  int64_t channels = 0;           // 1: stored as greys; 3: in colour (RGB, palette, CMYK)
  int orientation = 1;            // 1 (upright) to 8, as in EXIF (orientation.h)
};

// More are refused before anything is allocated for them: a small file can claim any size.
constexpr int64_t kMaxPicturePixels = 100'000'000;

// Reads PNG and JPEG, told apart by their first bytes and not by a name. `source` names the picture
// in errors. Everything throws Error(kBadData) saying what is wrong: not a picture, of another kind
// (GIF, WebP, BMP, TIFF, HEIF: named), cut off anywhere, damaged, animated (APNG), of more than
// kMaxPicturePixels, a header that claims more pixels than the bytes can hold.
PictureHeader read_picture_header(std::span<const uint8_t> bytes, const std::string& source);

// channels: 1 or 3. The pixels are those that Pillow makes of it, upright (orientation.h) and over
// white where it is transparent: of 16 bits the upper 8 are kept (of grey too, which Pillow clips),
// CMYK is taken as Adobe's (inverted), gamma and colour profiles are not applied. Colour becomes
// grey by ITU-R 601 luma (0.299 R + 0.587 G + 0.114 B, in Pillow's fixed point); grey becomes three
// equal planes.
Picture decode_picture(std::span<const uint8_t> bytes, const std::string& source, int64_t channels);

// The bytes of a file. Throws Error(kInputOutput) for what cannot be read or is no regular file,
// Error(kBadData) for more than 256 MiB.
std::vector<uint8_t> read_picture_file(const std::string& path);
Picture load_picture(const std::string& path, int64_t channels);

// Whether the bytes begin as a PNG or a JPEG does.
bool is_known_picture(std::span<const uint8_t> first_bytes);

// The shorter side scaled to `side`, the middle of the longer one kept: torchvision's Resize(side)
// and CenterCrop(side) on a Pillow image. The filter is a triangle as wide as the scale
// (antialiased, Pillow's BILINEAR), in the same fixed point: bytes, not floats, so that every
// machine gives the same.
Picture resize_to_square(const Picture& picture, int64_t side);

}  // namespace lockstep
