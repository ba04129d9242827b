#include "lockstep/data/pictures/picture.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/data/pictures/jpeg_decoder.h"
#include "lockstep/data/pictures/picture_refusal.h"
#include "lockstep/data/pictures/png_decoder.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::string_view kJpegSignature("\xff\xd8\xff", 3);

// Kinds that are recognised to be named in the refusal.
struct OtherKind {
  const char* name;
  size_t offset;
  std::string_view signature;
};
constexpr std::array kOtherKinds{
    OtherKind{"a GIF", 0, "GIF8"},
    OtherKind{"a WebP picture", 8, "WEBP"},
    OtherKind{"a BMP picture", 0, "BM"},
    OtherKind{"a TIFF picture", 0, std::string_view("II*\0", 4)},
    OtherKind{"a TIFF picture", 0, std::string_view("MM\0*", 4)},
    OtherKind{"a HEIF or AVIF picture", 4, "ftyp"},
    OtherKind{"a JPEG 2000 picture", 4, "jP  "},
    OtherKind{"a JPEG XL picture", 0, "\xff\x0a"},
    OtherKind{"a JPEG XL picture", 4, "JXL "},
    OtherKind{"a Netpbm picture", 0, "P4"},
    OtherKind{"a Netpbm picture", 0, "P5"},
    OtherKind{"a Netpbm picture", 0, "P6"},
    OtherKind{"an SVG drawing", 0, "<svg"},
    OtherKind{"a web page, as a failed download leaves it", 0, "<!DOCTYPE"},
    OtherKind{"a web page, as a failed download leaves it", 0, "<html"},
};

bool holds(std::span<const uint8_t> bytes, size_t offset, std::string_view signature) {
  return bytes.size() >= offset + signature.size() &&
         std::equal(
             signature.begin(), signature.end(), bytes.begin() + offset, [](char a, uint8_t b) {
               return static_cast<uint8_t>(a) == b;
             });
}

[[noreturn]] void refuse_kind(std::span<const uint8_t> bytes, const std::string& source) {
  if (bytes.empty()) refuse_picture(source, "the file is empty");
  for (const OtherKind& kind : kOtherKinds) {
    if (holds(bytes, kind.offset, kind.signature))
      refuse_picture(source, "{}; only PNG and JPEG are read", kind.name);
  }
  refuse_picture(source, "neither a PNG nor a JPEG");
}

// The picture as its orientation wants it seen.
Picture upright(Picture picture, int orientation) {
  if (orientation == 1) return picture;
  const bool turned = orientation >= 5;
  const bool upside_down =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool mirrored =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Picture out{picture.channels,
              turned ? picture.width : picture.height,
              turned ? picture.height : picture.width,
              std::vector<uint8_t>(picture.pixels.size())};
  uint8_t* pixel = out.pixels.data();
  for (int64_t c = 0; c < out.channels; ++c) {
    for (int64_t y = 0; y < out.height; ++y) {
      for (int64_t x = 0; x < out.width; ++x) {
        int64_t from_y = turned ? x : y, from_x = turned ? y : x;
        if (upside_down) from_y = picture.height - 1 - from_y;
        if (mirrored) from_x = picture.width - 1 - from_x;
        *pixel++ = picture.pixels[(c * picture.height + from_y) * picture.width + from_x];
      }
    }
  }
  return out;
}

Picture with_channels(Picture picture, int64_t channels) {
  if (picture.channels == channels) return picture;
  const auto plane = static_cast<size_t>(picture.height * picture.width);
  std::vector<uint8_t>& pixels = picture.pixels;
  if (channels == 3) {
    pixels.resize(3 * plane);
    std::copy_n(pixels.begin(), plane, pixels.begin() + plane);
    std::copy_n(pixels.begin(), plane, pixels.begin() + 2 * plane);
  } else {
    for (size_t i = 0; i < plane; ++i) {
      const uint32_t luma =
          pixels[i] * 19595u + pixels[plane + i] * 38470u + pixels[2 * plane + i] * 7471u;
      pixels[i] = static_cast<uint8_t>((luma + 0x8000u) >> 16);
    }
    pixels.resize(plane);
  }
  picture.channels = channels;
  return picture;
}

}  // namespace

void check_picture_size(uint64_t width, uint64_t height, const std::string& source) {
  if (width == 0 || height == 0) {
    refuse_picture(source, "it claims {} x {} pixels: the header is damaged", width, height);
  }
  if (width > kMaxPicturePixels / height) {
    refuse_picture(
        source,
        "it claims {} x {} pixels, more than the {} million allowed (a decompression bomb?)",
        width,
        height,
        kMaxPicturePixels / 1'000'000);
  }
}

bool is_known_picture(std::span<const uint8_t> first_bytes) {
  return holds(first_bytes, 0, kPngSignature) || holds(first_bytes, 0, kJpegSignature);
}

PictureHeader read_picture_header(std::span<const uint8_t> bytes, const std::string& source) {
  if (!is_known_picture(bytes)) refuse_kind(bytes, source);
  PictureHeader header = holds(bytes, 0, kPngSignature) ? read_png_header(bytes, source)
                                                        : read_jpeg_header(bytes, source);
  if (header.orientation >= 5) std::swap(header.height, header.width);
  return header;
}

Picture decode_picture(std::span<const uint8_t> bytes,
                       const std::string& source,
                       int64_t channels) {
  LOCKSTEP_CHECK(channels == 1 || channels == 3, "a picture of {} channels", channels);
  const int orientation = read_picture_header(bytes, source).orientation;
  Picture picture =
      holds(bytes, 0, kPngSignature) ? decode_png(bytes, source) : decode_jpeg(bytes, source);
  return upright(with_channels(std::move(picture), channels), orientation);
}

std::vector<uint8_t> read_picture_file(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw_error(ExitCode::kInputOutput, "{}: there is no such file", path);
  if (!fs::is_regular_file(status))
    throw_error(ExitCode::kInputOutput, "{}: a folder or device, not a file", path);
  if (fs::file_size(path, error) > kMaxFileBytes && !error) {
    refuse_picture(path, "larger than the {} MiB allowed for a picture", kMaxFileBytes >> 20);
  }
  const std::string bytes = read_file(path, kMaxFileBytes);
  return {bytes.begin(), bytes.end()};
}

Picture load_picture(const std::string& path, int64_t channels) {
  return decode_picture(read_picture_file(path), path, channels);
}

}  // namespace lockstep
