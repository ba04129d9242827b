#include "lockstep/launch/report/html_text.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr const char* kNone = "–";

// Bytes of the UTF-8 character that `text` begins with; 0: it begins with none.
size_t character_bytes(const std::string& text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t size = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  return is_utf8(text.substr(at, size)) ? size : 0;
}

// Bidirectional overrides could make a name rearrange the words around it.
bool rearranges(std::string_view character) {
  return character.size() == 3 && character[0] == '\xE2' &&
         ((character[1] == '\x80' && character[2] >= '\xAA' && character[2] <= '\xAE') ||
          (character[1] == '\x81' && character[2] >= '\xA6' && character[2] <= '\xA9'));
}

std::string escaped(std::string_view character) {
  if (character == "&") return "&amp;";
  if (character == "<") return "&lt;";
  if (character == ">") return "&gt;";
  if (character == "\"") return "&quot;";
  if (character == "'") return "&#39;";
  if (character == "\n" || character == "\t") return " ";
  const auto first = static_cast<unsigned char>(character[0]);
  const bool control = first < 0x20 || first == 0x7F ||
                       (first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0);
  return control || rearranges(character) ? kReplacement : std::string(character);
}

}  // namespace

std::string html_text(const std::string& text, size_t max_bytes) {
  std::string html;
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_bytes(text, at);
    const size_t taken = std::max<size_t>(1, size);
    if (at + taken > max_bytes) return html + "…";
    html += size == 0 ? kReplacement : escaped(std::string_view(text).substr(at, size));
    at += taken;
  }
  return html;
}

std::string loss_text(double loss) {
  if (!std::isfinite(loss)) return kNone;
  return std::abs(loss) < 1e4 ? fmt::format("{:.4f}", loss) : fmt::format("{:.3g}", loss);
}

std::string percent_text(double fraction) {
  return std::isfinite(fraction) ? fmt::format("{:.2f} %", 100 * fraction) : kNone;
}

std::string count_text(int64_t count) {
  const std::string digits = std::to_string(count);
  const size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string number_text(double number) {
  if (!std::isfinite(number)) return kNone;
  const bool large = std::abs(number) >= 1000 && std::abs(number) < 1e15;
  return large ? count_text(std::llround(number)) : fmt::format("{:.4g}", number);
}

}  // namespace lockstep
