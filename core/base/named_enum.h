// Enums whose values have names in files and on the command line: a table of rows beside the enum
// is the one place where the two meet.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// Throws Error(kUsage): no `kind` ("optimizer") has this name; with all that do, and the nearest.
[[noreturn]] void throw_unknown_name(std::string_view kind,
                                     std::string_view name,
                                     const std::vector<std::string>& known);

// Throws Error(kInternal): an enum's value without a row.
[[noreturn]] void throw_nameless(int value);

template <typename Enum>
struct EnumRow {
  Enum value;
  const char* name;
  const char* description;  // one line
};

// The rows of an enum: specialised as a std::array of EnumRow<Enum>, one row a value.
template <typename Enum>
inline constexpr auto kEnumRows = nullptr;

template <typename Enum>
concept NamedEnum = requires {
  kEnumRows<Enum>.size();
};

// "bf16" of Precision::kBf16.
template <NamedEnum Enum>
const char* name_of(Enum value) {
  for (const EnumRow<Enum>& row : kEnumRows<Enum>) {
    if (row.value == value) return row.name;
  }
  throw_nameless(static_cast<int>(value));
}

// The row called `name`; null: there is none.
template <NamedEnum Enum>
const EnumRow<Enum>* row_called(std::string_view name) {
  for (const EnumRow<Enum>& row : kEnumRows<Enum>) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// All names, in the order of the rows.
template <NamedEnum Enum>
std::vector<std::string> names_of() {
  std::vector<std::string> names;
  for (const EnumRow<Enum>& row : kEnumRows<Enum>) names.emplace_back(row.name);
  return names;
}

// The value called `name`. Throws Error(kUsage) where there is none.
template <NamedEnum Enum>
Enum value_called(std::string_view name) {
  if (const EnumRow<Enum>* row = row_called<Enum>(name)) return row->value;
  throw_unknown_name("name", name, names_of<Enum>());
}

}  // namespace lockstep
