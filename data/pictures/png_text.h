// The text chunks of PNG (ISO/IEC 15948, 11.3.3): what programs write beside a picture.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

struct PngChunk {
  std::string_view type;  // four letters; empty: no chunk
  std::string_view data;
};

// The keyword of a chunk of type tEXt, zTXt or iTXt; empty for any other.
std::string_view png_keyword(const PngChunk& chunk);

// The text of such a chunk, inflated where it is compressed. Absent for any other, for what is
// damaged, and for more than 1 MiB.
std::optional<std::string> png_text(const PngChunk& chunk);

}  // namespace lockstep
