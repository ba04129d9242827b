#include "lockstep/data/pictures/jpeg_decoder.h"

#include <cstdio>  // jpeglib.h needs FILE

#include <jpeglib.h>

#include <jerror.h>  // its list depends on jpeglib.h's settings

#include <cstring>
#include <string>
#include <string_view>

#include "lockstep/data/pictures/orientation.h"
#include "lockstep/data/pictures/picture_refusal.h"

namespace lockstep {
namespace {

constexpr size_t kMarkerBytes = 2;
constexpr int kMetadataMarker = JPEG_APP0 + 1;
constexpr std::string_view kExifPrefix("Exif\0\0", 6);
constexpr std::string_view kXmpPrefix("http://ns.adobe.com/xap/1.0/\0", 29);
// Every scan goes over the whole picture; encoders make about ten.
constexpr int kMaxScans = 100;
// A Huffman code has at least one bit, and a block of 8 x 8 pixels at least one code.
constexpr uint64_t kMaxPixelsPerByte = uint64_t{8} * 64;

// libjpeg goes on after these as if nothing were wrong, with grey or torn pictures.
bool is_damage(int message) {
  switch (message) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
      return true;
    default:
      return false;
  }
}

class JpegReader {
 public:
  JpegReader(std::span<const uint8_t> bytes, const std::string& source) : source_(source) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = &on_error;
    errors_.emit_message = &on_message;
    errors_.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = &on_progress;
    const bool started = guard_.run([this] { jpeg_create_decompress(&info_); });
    if (!started) throw_error(ExitCode::kInternal, "libjpeg cannot start: {}", guard_.message());
    info_.progress = &progress_;
    num_bytes_ = bytes.size();
    try {
      run([this, bytes] {
        jpeg_mem_src(&info_, bytes.data(), bytes.size());
        jpeg_save_markers(&info_, kMetadataMarker, 0xFFFF);
        jpeg_read_header(&info_, TRUE);
      });
      check_header();
    } catch (...) {
      jpeg_destroy_decompress(&info_);
      throw;
    }
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  PictureHeader header() const {
    return {
        info_.image_height, info_.image_width, info_.num_components == 1 ? 1 : 3, orientation()};
  }
  // Rows of grey, RGB or (inverted) CMYK.
  void start() {
    run([this] {
      info_.out_color_space = info_.num_components == 1   ? JCS_GRAYSCALE
                              : info_.num_components == 3 ? JCS_RGB
                                                          : JCS_CMYK;
      jpeg_start_decompress(&info_);
    });
  }
  int num_samples() const { return info_.output_components; }
  void read_row(uint8_t* row) {
    run([this, row] {
      JSAMPROW rows[] = {row};
      jpeg_read_scanlines(&info_, rows, 1);
    });
  }
  // All rows have been read. Behind those of a single scan nothing changes the picture: some phones
  // put data of their own where the end marker should be. But a file that ends there, or within the
  // marker, ends too early.
  void finish() {
    bool complete = false;
    run([this, &complete] { complete = jpeg_input_complete(&info_) != 0; });
    if (complete || info_.unread_marker != 0) return;
    if (info_.src->bytes_in_buffer < kMarkerBytes) refuse_cut_off();
  }

 private:
  template <typename Call>
  void run(const Call& call) {
    if (guard_.run(call)) return;
    if (errors_.msg_code == JWRN_JPEG_EOF) refuse_cut_off();
    refuse_picture(source_, "the JPEG is damaged or of a rare kind ({})", guard_.message());
  }
  [[noreturn]] void refuse_cut_off() const { refuse_picture(source_, "the JPEG is cut off"); }
  void check_header() const {
    check_picture_size(info_.image_width, info_.image_height, source_);
    if (info_.num_components != 1 && info_.num_components != 3 && info_.num_components != 4) {
      refuse_picture(
          source_, "the JPEG has {} components instead of 1, 3 or 4", info_.num_components);
    }
    const uint64_t pixels = uint64_t{info_.image_width} * info_.image_height;
    if (!info_.arith_code && pixels > num_bytes_ * kMaxPixelsPerByte) {
      refuse_picture(source_,
                     "the JPEG claims {} x {} pixels, more than its {} bytes can hold",
                     info_.image_width,
                     info_.image_height,
                     num_bytes_);
    }
  }
  int orientation() const {
    OrientationSources sources;
    for (auto marker = info_.marker_list; marker; marker = marker->next) {
      std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (data.starts_with(kExifPrefix)) {
        data.remove_prefix(kExifPrefix.size());
        sources.exif = sources.exif.value_or("").append(data);
      } else if (data.starts_with(kXmpPrefix)) {
        sources.xmp = data.substr(kXmpPrefix.size());
      }
    }
    return orientation_of(sources);
  }

  static JpegReader& of(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }
  static void on_error(j_common_ptr info) {
    static_assert(LongJumpGuard::kMessageBytes >= JMSG_LENGTH_MAX);
    info->err->format_message(info, of(info).guard_.message());
    of(info).guard_.fail();
  }
  static void on_message(j_common_ptr info, int level) {
    if (level < 0 && is_damage(info->err->msg_code)) on_error(info);
  }
  static void on_progress(j_common_ptr info) {
    LongJumpGuard& guard = of(info).guard_;
    if (of(info).info_.input_scan_number <= kMaxScans) return;
    std::strcpy(guard.message(), "it has too many scans");
    guard.fail();
  }

  const std::string& source_;
  uint64_t num_bytes_ = 0;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  LongJumpGuard guard_;
};

// round(a * b / 255)
uint8_t scaled(uint32_t a, uint32_t b) {
  const uint32_t product = a * b + 128;
  return static_cast<uint8_t>(((product >> 8) + product) >> 8);
}

void store_row(const uint8_t* row, int num_samples, int64_t y, Picture& picture) {
  for (int64_t c = 0; c < picture.channels; ++c) {
    uint8_t* out = picture.pixels.data() + (c * picture.height + y) * picture.width;
    for (int64_t x = 0; x < picture.width; ++x) {
      const uint8_t* pixel = row + x * num_samples;
      out[x] = num_samples == 4 ? static_cast<uint8_t>(pixel[3] - scaled(255 - pixel[c], pixel[3]))
                                : pixel[c];
    }
  }
}

}  // namespace

PictureHeader read_jpeg_header(std::span<const uint8_t> bytes, const std::string& source) {
  return JpegReader(bytes, source).header();
}

Picture decode_jpeg(std::span<const uint8_t> bytes, const std::string& source) {
  JpegReader reader(bytes, source);
  const PictureHeader header = reader.header();
  reader.start();
  Picture picture{header.channels,
                  header.height,
                  header.width,
                  std::vector<uint8_t>(header.channels * header.height * header.width)};
  std::vector<uint8_t> row(static_cast<size_t>(header.width * reader.num_samples()));
  for (int64_t y = 0; y < picture.height; ++y) {
    reader.read_row(row.data());
    store_row(row.data(), reader.num_samples(), y, picture);
  }
  reader.finish();
  return picture;
}

}  // namespace lockstep
