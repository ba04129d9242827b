#include "lockstep/data/pictures/png_decoder.h"

#include <png.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "lockstep/data/pictures/orientation.h"
#include "lockstep/data/pictures/picture_refusal.h"
#include "lockstep/data/pictures/png_text.h"

namespace lockstep {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkFrameBytes = 12;  // length, type, CRC
constexpr size_t kHeaderBytes = 13;
// What deflate can make of a byte at most (RFC 1951: 258 bytes by one bit of length and one of
// distance code, less the blocks' headers).
constexpr uint64_t kMaxInflation = 1032;

uint64_t big_endian(std::span<const uint8_t> bytes, size_t offset) {
  return uint64_t{bytes[offset]} << 24 | uint64_t{bytes[offset + 1]} << 16 |
         uint64_t{bytes[offset + 2]} << 8 | bytes[offset + 3];
}

struct PngLayout {
  uint64_t width = 0, height = 0;
  int bit_depth = 0, colour_type = 0;
  uint64_t data_bytes = 0;          // of all IDAT chunks
  PngChunk exif, raw_profile, xmp;  // the last of each

  uint64_t bits_per_pixel() const {
    const uint64_t samples = colour_type == PNG_COLOR_TYPE_RGB          ? 3
                             : colour_type == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
                             : colour_type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                                        : 1;
    return samples * static_cast<uint64_t>(bit_depth);
  }
  int64_t channels() const { return colour_type & PNG_COLOR_MASK_COLOR ? 3 : 1; }
};

void keep_metadata(const PngChunk& chunk, PngLayout& layout) {
  const std::string_view keyword = png_keyword(chunk);
  if (chunk.type == "eXIf" || (chunk.type == "tEXt" && keyword == "exif")) layout.exif = chunk;
  if (keyword == "Raw profile type exif") layout.raw_profile = chunk;
  if (keyword == "XML:com.adobe.xmp") layout.xmp = chunk;
}

int orientation_of(const PngLayout& layout) {
  OrientationSources sources;
  sources.exif = layout.exif.type == "eXIf" ? std::optional(std::string(layout.exif.data))
                                            : png_text(layout.exif);
  sources.raw_profile = png_text(layout.raw_profile);
  sources.xmp = png_text(layout.xmp).value_or("");
  return orientation_of(sources);
}

// Whether the chunk is one of several frames. A file that claims a single frame is still, as long
// as that is the picture itself.
bool is_animated(std::string_view type, std::span<const uint8_t> chunk) {
  return type == "fdAT" || (type == "acTL" && chunk.size() >= 4 && big_endian(chunk, 0) > 1);
}

// Goes from chunk to chunk: the picture must be there to its last chunk, and still.
PngLayout walk_chunks(std::span<const uint8_t> bytes, const std::string& source) {
  PngLayout layout;
  for (size_t offset = kSignatureBytes;;) {
    if (bytes.size() - offset < kChunkFrameBytes) refuse_picture(source, "the PNG is cut off");
    const uint64_t length = big_endian(bytes, offset);
    const std::string_view type(reinterpret_cast<const char*>(bytes.data()) + offset + 4, 4);
    if (length > bytes.size() - offset - kChunkFrameBytes) {
      refuse_picture(source, "the PNG is cut off or damaged");
    }
    const auto chunk = bytes.subspan(offset + 8, length);
    if (offset == kSignatureBytes) {
      if (type != "IHDR" || length != kHeaderBytes)
        refuse_picture(source, "the PNG is damaged: it does not begin with its header");
      layout.width = big_endian(chunk, 0);
      layout.height = big_endian(chunk, 4);
      layout.bit_depth = chunk[8];
      layout.colour_type = chunk[9];
    } else if (is_animated(type, chunk)) {
      refuse_picture(source, "an animated PNG; save the frame that is meant as a plain PNG");
    } else if (type == "IDAT") {
      layout.data_bytes += length;
    } else if (type == "IEND") {
      return layout;
    } else {
      keep_metadata({type, {reinterpret_cast<const char*>(chunk.data()), chunk.size()}}, layout);
    }
    offset += kChunkFrameBytes + length;
  }
}

PngLayout read_layout(std::span<const uint8_t> bytes, const std::string& source) {
  const PngLayout layout = walk_chunks(bytes, source);
  check_picture_size(layout.width, layout.height, source);
  if (layout.width * layout.height * layout.bits_per_pixel() / 8 >
      layout.data_bytes * kMaxInflation) {
    refuse_picture(source,
                   "the PNG claims {} x {} pixels, more than its {} bytes of data can hold",
                   layout.width,
                   layout.height,
                   layout.data_bytes);
  }
  return layout;
}

// libpng's state for one picture in memory.
class PngReader {
 public:
  PngReader(std::span<const uint8_t> bytes, const std::string& source)
      : bytes_(bytes), source_(source) {
    const bool started = guard_.run([this] {
      png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &on_error, &on_warning);
      if (png_) info_ = png_create_info_struct(png_);
    });
    if (!started || !info_) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw_error(ExitCode::kInternal, "libpng cannot start: out of memory?");
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // Rows of 8-bit samples: grey, grey and alpha, RGB or RGBA.
  void start() {
    run([this] {
      png_set_read_fn(png_, this, &on_read);
      png_set_user_limits(png_, kMaxPicturePixels, kMaxPicturePixels);
      // Text and colour profiles can be bombs of their own, and are not used.
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_read_info(png_, info_);
      png_set_expand(png_);
      png_set_strip_16(png_);
      num_passes_ = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    });
  }
  int num_passes() const { return num_passes_; }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  int num_samples() const { return png_get_channels(png_, info_); }
  void read_row(uint8_t* row) {
    run([this, row] { png_read_row(png_, row, nullptr); });
  }
  void finish() {
    run([this] { png_read_end(png_, nullptr); });
  }

 private:
  template <typename Call>
  void run(const Call& call) {
    if (!guard_.run(call)) refuse_picture(source_, "the PNG is damaged ({})", guard_.message());
  }
  static void on_error(png_structp png, png_const_charp message) {
    LongJumpGuard& guard = static_cast<PngReader*>(png_get_error_ptr(png))->guard_;
    std::strncpy(guard.message(), message, LongJumpGuard::kMessageBytes - 1);
    guard.fail();
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, size_t count) {
    auto& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > reader.bytes_.size() - reader.position_) png_error(png, "cut off");
    std::memcpy(out, reader.bytes_.data() + reader.position_, count);
    reader.position_ += count;
  }

  std::span<const uint8_t> bytes_;
  const std::string& source_;
  size_t position_ = 0;
  int num_passes_ = 1;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  LongJumpGuard guard_;
};

// One row of interleaved samples into the planes, over white where it is transparent.
void store_row(const uint8_t* row, int num_samples, int64_t y, Picture& picture) {
  const bool has_alpha = num_samples == 2 || num_samples == 4;
  for (int64_t c = 0; c < picture.channels; ++c) {
    uint8_t* out = picture.pixels.data() + (c * picture.height + y) * picture.width;
    for (int64_t x = 0; x < picture.width; ++x) {
      const uint8_t* pixel = row + x * num_samples;
      const uint32_t alpha = has_alpha ? pixel[num_samples - 1] : 255;
      out[x] = static_cast<uint8_t>((pixel[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
}

}  // namespace

PictureHeader read_png_header(std::span<const uint8_t> bytes, const std::string& source) {
  const PngLayout layout = read_layout(bytes, source);
  return {static_cast<int64_t>(layout.height),
          static_cast<int64_t>(layout.width),
          layout.channels(),
          orientation_of(layout)};
}

Picture decode_png(std::span<const uint8_t> bytes, const std::string& source) {
  const PngLayout layout = read_layout(bytes, source);
  PngReader reader(bytes, source);
  reader.start();
  Picture picture{layout.channels(),
                  static_cast<int64_t>(layout.height),
                  static_cast<int64_t>(layout.width),
                  std::vector<uint8_t>(layout.channels() * layout.height * layout.width)};
  // An interlaced picture is complete with its last pass only.
  const bool interlaced = reader.num_passes() > 1;
  std::vector<uint8_t> rows(reader.row_bytes() * (interlaced ? layout.height : 1));
  for (int pass = 0; pass < reader.num_passes(); ++pass) {
    for (int64_t y = 0; y < picture.height; ++y) {
      uint8_t* row = rows.data() + (interlaced ? static_cast<size_t>(y) * reader.row_bytes() : 0);
      reader.read_row(row);
      if (pass == reader.num_passes() - 1) store_row(row, reader.num_samples(), y, picture);
    }
  }
  reader.finish();
  return picture;
}

}  // namespace lockstep
