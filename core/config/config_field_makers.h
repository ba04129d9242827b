// Makes the rows of the configuration table: private to config_fields.cpp.
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lockstep/core/config/config_fields.h"

namespace lockstep::fields {

// reach<&Config::data, &DataConfig::file>(config) is config.data.file.
template <auto... path>
auto& reach(Config& config) {
  return (config.*....*path);
}

// For a key that says where or how to run: it changes no number.
constexpr bool kNotInDigest = false;

template <auto... path>
ConfigField number(std::string key,
                   NumberRange range,
                   std::string description,
                   bool digest = true) {
  return {std::move(key), &reach<path...>, range, {}, digest, std::move(description)};
}

// Counts in the digest, but a resumed run may have another value.
inline ConfigField changeable(ConfigField field) {
  field.may_change_at_resume = true;
  return field;
}

// Counts in the digest unless it has its default, so that the digests of older runs stay.
inline ConfigField joined_later(ConfigField field) {
  field.joined_later = true;
  return field;
}

// An integer with a word, outside its range, that leaves it to the program.
template <auto... path>
ConfigField number_or_word(std::string key,
                           NumberRange range,
                           std::string word,
                           std::string description) {
  ConfigField field = number<path...>(std::move(key), range, std::move(description));
  field.zero_word = std::move(word);
  return field;
}

template <auto... path>
ConfigField text(std::string key, std::string description, bool digest = true) {
  return {std::move(key), &reach<path...>, {}, {}, digest, std::move(description)};
}

template <typename Rows>
std::vector<ChoiceText> texts_of(const Rows& rows) {
  std::vector<ChoiceText> texts;
  for (const auto& row : rows) texts.push_back({row.name, row.description});
  return texts;
}

template <NamedEnum Enum>
void assign_name(Enum& value, const std::string& name) {
  value = value_called<Enum>(name);
}

template <typename Row>
void assign_name(Choice<Row>& value, const std::string& name) {
  value = name;
}

// One of an enum's values, or of a table's rows.
template <auto... path>
ConfigField choice(std::string key, std::string description, bool digest = true) {
  using Value = std::remove_reference_t<decltype(reach<path...>(std::declval<Config&>()))>;
  const ChoiceAccess access{
      [](const Config& config) { return name_of((config.*....*path)); },
      [](Config& config, const std::string& name) { assign_name(reach<path...>(config), name); }};
  ConfigField field{std::move(key), access, {}, {}, digest, std::move(description)};
  if constexpr (NamedEnum<Value>) {
    field.choices = texts_of(kEnumRows<Value>);
  } else {
    field.choices = texts_of(Value::RowType::table());
  }
  return field;
}

// A string of which some values are known.
template <auto... path>
ConfigField text_among(std::string key, std::vector<ChoiceText> choices, std::string description) {
  ConfigField field = text<path...>(std::move(key), std::move(description));
  field.choices = std::move(choices);
  return field;
}

template <auto... path>
ConfigField flag(std::string key, std::string description, bool digest = true) {
  return {std::move(key), &reach<path...>, {}, {}, digest, std::move(description)};
}

}  // namespace lockstep::fields
