#include "lockstep/data/pictures/png_text.h"

#include <zlib.h>

#include <cstddef>

namespace lockstep {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 20;

std::optional<std::string> inflated(std::string_view packed) {
  std::string text(kMaxTextBytes, '\0');
  uLongf size = text.size();
  if (uncompress(reinterpret_cast<Bytef*>(text.data()),
                 &size,
                 reinterpret_cast<const Bytef*>(packed.data()),
                 static_cast<uLong>(packed.size())) != Z_OK)
    return std::nullopt;
  text.resize(size);
  return text;
}

// Cuts off what stands before the next zero byte, and that; false where there is none.
bool skip_field(std::string_view& data) {
  const size_t end = data.find('\0');
  if (end == std::string_view::npos) return false;
  data.remove_prefix(end + 1);
  return true;
}

}  // namespace

std::string_view png_keyword(const PngChunk& chunk) {
  if (chunk.type != "tEXt" && chunk.type != "zTXt" && chunk.type != "iTXt") return "";
  return chunk.data.substr(0, chunk.data.find('\0'));
}

std::optional<std::string> png_text(const PngChunk& chunk) {
  std::string_view data = chunk.data;
  if (png_keyword(chunk).empty() || !skip_field(data)) return std::nullopt;
  bool compressed = false;
  if (chunk.type == "zTXt") {  // the method, 0
    if (!data.starts_with('\0')) return std::nullopt;
    data.remove_prefix(1);
    compressed = true;
  } else if (chunk.type ==
             "iTXt") {  // compressed or not, the method, a language, the keyword in it
    if (data.size() < 2) return std::nullopt;
    compressed = data[0] != 0;
    if (compressed && data[1] != 0) return std::nullopt;
    data.remove_prefix(2);
    if (!skip_field(data) || !skip_field(data)) return std::nullopt;
  }
  if (compressed) return inflated(data);
  return data.size() <= kMaxTextBytes ? std::optional(std::string(data)) : std::nullopt;
}

}  // namespace lockstep
