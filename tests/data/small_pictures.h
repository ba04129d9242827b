// PNG and JPEG files made in memory, good ones and bad ones, for tests.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstdio>

#include <jpeglib.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace lockstep::testing {

using Bytes = std::vector<uint8_t>;

inline void append_big_endian(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<uint8_t>(value >> shift));
}

inline void append_png_chunk(Bytes& png, const std::string& type, const Bytes& data) {
  append_big_endian(png, static_cast<uint32_t>(data.size()));
  Bytes body(type.begin(), type.end());
  body.insert(body.end(), data.begin(), data.end());
  png.insert(png.end(), body.begin(), body.end());
  append_big_endian(png,
                    static_cast<uint32_t>(crc32(0, body.data(), static_cast<uInt>(body.size()))));
}

struct PngParts {
  uint32_t width = 0, height = 0;
  uint8_t bit_depth = 8;
  uint8_t colour_type = 0;  // 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
  Bytes rows;               // packed samples without the filter bytes
  std::vector<std::pair<std::string, Bytes>> extra_chunks;  // between IHDR and IDAT
};

inline Bytes make_png(const PngParts& parts) {
  Bytes png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  Bytes header;
  append_big_endian(header, parts.width);
  append_big_endian(header, parts.height);
  header.insert(header.end(), {parts.bit_depth, parts.colour_type, 0, 0, 0});
  append_png_chunk(png, "IHDR", header);
  for (const auto& [type, data] : parts.extra_chunks) append_png_chunk(png, type, data);
  Bytes filtered;
  const size_t row_bytes =
      std::max<size_t>(1, parts.rows.size() / std::max<size_t>(1, parts.height));
  for (size_t i = 0; i < parts.rows.size(); ++i) {
    if (i % row_bytes == 0) filtered.push_back(0);
    filtered.push_back(parts.rows[i]);
  }
  uLongf size = compressBound(static_cast<uLong>(filtered.size()));
  Bytes packed(size);
  compress(packed.data(), &size, filtered.data(), static_cast<uLong>(filtered.size()));
  packed.resize(size);
  append_png_chunk(png, "IDAT", packed);
  append_png_chunk(png, "IEND", {});
  return png;
}

// pixels: interleaved; num_samples 1, 3 or 4 (CMYK). `exif`: a TIFF structure for the APP1 segment.
inline Bytes make_jpeg(const Bytes& pixels,
                       int width,
                       int height,
                       int num_samples,
                       bool progressive = false,
                       const Bytes& exif = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = num_samples;
  info.in_color_space = num_samples == 1 ? JCS_GRAYSCALE : num_samples == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (!exif.empty()) {
    Bytes segment{'E', 'x', 'i', 'f', 0, 0};
    segment.insert(segment.end(), exif.begin(), exif.end());
    jpeg_write_marker(&info, JPEG_APP0 + 1, segment.data(), static_cast<unsigned>(segment.size()));
  }
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<JSAMPROW>(pixels.data()) + y * width * num_samples;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes jpeg(memory, memory + size);
  jpeg_destroy_compress(&info);
  std::free(memory);
  return jpeg;
}

// A TIFF structure that holds nothing but an orientation.
inline Bytes make_exif(uint8_t orientation, bool little_endian) {
  if (little_endian)
    return {'I', 'I', 42, 0, 8, 0,           0, 0, 1, 0, 0x12, 1, 3,
            0,   1,   0,  0, 0, orientation, 0, 0, 0, 0, 0,    0, 0};
  return {'M', 'M', 0, 42, 0, 0, 0,           8, 0, 1, 1, 0x12, 0,
          3,   0,   0, 0,  1, 0, orientation, 0, 0, 0, 0, 0,    0};
}

}  // namespace lockstep::testing
