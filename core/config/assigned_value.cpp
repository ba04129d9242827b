#include "lockstep/core/config/assigned_value.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <variant>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/suggestion.h"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr Alias kFlags[] = {{"true", "true"},
                            {"yes", "true"},
                            {"on", "true"},
                            {"1", "true"},
                            {"false", "false"},
                            {"no", "false"},
                            {"off", "false"},
                            {"0", "false"}};

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// Takes the digits at the front of `text` away.
std::string take_digits(std::string_view& text) {
  const auto end = std::ranges::find_if_not(text, is_digit);
  const auto length = static_cast<size_t>(end - text.begin());
  const std::string digits(text.substr(0, length));
  text.remove_prefix(length);
  return digits;
}

// Takes one of the characters `any` from the front of `text`; 0: it begins with none of them.
char take_one(std::string_view& text, std::string_view any) {
  if (text.empty() || any.find(text.front()) == any.npos) return 0;
  const char taken = text.front();
  text.remove_prefix(1);
  return taken;
}

// A decimal number as JSON writes it; nothing: it is none.
std::optional<std::string> number_as_json(std::string_view text) {
  std::string number = take_one(text, "+-") == '-' ? "-" : "";
  std::string whole = take_digits(text);
  const std::string fraction = take_one(text, ".") != 0 ? take_digits(text) : "";
  if (whole.empty() && fraction.empty()) return std::nullopt;
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  number += whole.empty() ? "0" : whole;
  if (!fraction.empty()) number += "." + fraction;
  if (take_one(text, "eE") != 0) {
    number += 'e';
    if (const char sign = take_one(text, "+-")) number += sign;
    const std::string exponent = take_digits(text);
    if (exponent.empty()) return std::nullopt;
    number += exponent;
  }
  return text.empty() ? std::optional(number) : std::nullopt;
}

bool is_list_without_brackets(const std::string& text) {
  return !text.empty() && is_digit(text.front()) &&
         std::ranges::all_of(text, [](char c) { return is_digit(c) || c == ',' || c == ' '; });
}

template <typename Value>
bool holds(const ConfigField& field) {
  return std::holds_alternative<Value& (*)(Config&)>(field.access);
}

// As JSON, where people write it in another way.
std::string as_json(const ConfigField& field, const std::string& text) {
  if (holds<bool>(field)) {
    const std::string flag = meaning_of(text, kFlags);
    return flag.empty() ? text : flag;
  }
  if (holds<int64_t>(field) || holds<double>(field)) return number_as_json(text).value_or(text);
  if (holds<std::vector<int64_t>>(field) && is_list_without_brackets(text)) return "[" + text + "]";
  return text;
}

}  // namespace

json assigned_value(const ConfigField* field, const std::string& text, const std::string& source) {
  const bool is_text = field != nullptr && (holds<std::string>(*field) ||
                                            std::holds_alternative<ChoiceAccess>(field->access));
  const std::string written = field == nullptr ? text : as_json(*field, text);
  const bool is_structure = written.starts_with('{') || written.starts_with('[');
  try {
    json value = parse_strict_json(written, source, ExitCode::kUsage);
    return is_text && !value.is_string() ? json(text) : value;
  } catch (const Error&) {
    if (is_structure && !is_text) throw;
    return text;
  }
}

}  // namespace lockstep
