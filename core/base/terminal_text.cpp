#include "lockstep/core/base/terminal_text.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

namespace lockstep {
namespace {

constexpr uint32_t kInvalid = 0xFFFFFFFF;

struct Character {
  uint32_t code = kInvalid;
  size_t num_bytes = 1;
};

// The character at the beginning of `text`, which is not empty (RFC 3629, section 4).
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  uint32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kLeast[length] || code > 0x10FFFF || surrogate) return {};
  return {code, length};
}

bool is_control(uint32_t code) { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

std::string escaped(std::string_view text, bool keep_lines) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, character.num_bytes);
    const bool kept = keep_lines && (bytes == "\n" || bytes == "\t");
    if (!kept && (character.code == kInvalid || is_control(character.code))) {
      for (const char c : bytes) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      shown += bytes;
    }
    text.remove_prefix(character.num_bytes);
  }
  return shown;
}

}  // namespace

std::string terminal_text(std::string_view text) { return escaped(text, true); }

std::string terminal_word(std::string_view text) { return escaped(text, false); }

}  // namespace lockstep
