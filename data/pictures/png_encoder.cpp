#include "lockstep/data/pictures/png_encoder.h"

#include <png.h>

#include <algorithm>
#include <vector>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// [C, H, W] to [H, W, C] of every `stride`-th pixel.
std::vector<uint8_t> interleave(std::span<const uint8_t> image,
                                int64_t shown_channels,
                                int64_t height,
                                int64_t width,
                                int64_t stride) {
  std::vector<uint8_t> pixels;
  for (int64_t y = 0; y < height; y += stride) {
    for (int64_t x = 0; x < width; x += stride) {
      for (int64_t c = 0; c < shown_channels; ++c)
        pixels.push_back(image[static_cast<size_t>((c * height + y) * width + x)]);
    }
  }
  return pixels;
}

}  // namespace

std::string png_bytes(std::span<const uint8_t> image,
                      int64_t channels,
                      int64_t height,
                      int64_t width,
                      int64_t longest_side) {
  LOCKSTEP_CHECK(channels > 0 && height > 0 && width > 0 && longest_side > 0 &&
                     static_cast<int64_t>(image.size()) == channels * height * width,
                 "a picture of {} x {} x {} in {} bytes",
                 channels,
                 height,
                 width,
                 image.size());
  const int64_t stride = (std::max(height, width) + longest_side - 1) / longest_side;
  const int64_t shown_channels = channels == 3 ? 3 : 1;
  const std::vector<uint8_t> pixels = interleave(image, shown_channels, height, width, stride);

  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>((width + stride - 1) / stride);
  png.height = static_cast<png_uint_32>((height + stride - 1) / stride);
  png.format = shown_channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = bytes.size();
  LOCKSTEP_CHECK(
      png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels.data(), 0, nullptr) != 0,
      "libpng failed to write a picture of {} x {}: {}",
      height,
      width,
      png.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace lockstep
