#include "lockstep/core/base/text.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <string_view>

#include "lockstep/core/base/terminal_text.h"

namespace lockstep {

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

std::string quote_for_message(const std::string& text, char quote) {
  constexpr size_t kLongest = 80;
  size_t length = std::min(text.size(), kLongest);
  while (length < text.size() && length > 0 && !starts_character(text[length])) --length;
  std::string shown = quote + terminal_word(std::string_view(text).substr(0, length));
  if (length < text.size()) shown += "...";
  return shown + quote;
}

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain = "_-+=:,./@%";
  const bool plain = std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != kPlain.npos;
  });
  if (plain && !text.empty()) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace lockstep
