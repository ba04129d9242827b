#include "lockstep/core/base/strict_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

using nlohmann::json;

// Lets the handler know how far the parser has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* position, size_t* count) : position_(position), count_(count) {}
  reference operator*() const { return *position_; }
  CountingIterator& operator++() {
    ++position_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return position_ == other.position_; }
  bool operator!=(const CountingIterator& other) const { return position_ != other.position_; }

 private:
  const char* position_;
  size_t* count_;
};

struct Failure {
  size_t offset = 0;  // bytes before the character at fault
  std::string what;
};

// Builds the value from the parser's events; returning false ends the parsing.
class StrictHandler : public nlohmann::json_sax<json> {
 public:
  StrictHandler(const std::string& text, const size_t& num_read)
      : text_(text), num_read_(num_read) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // never sent for text
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    if (level.container->contains(name)) {
      level.key = name;
      return fail(start_of_last_string(), fmt::format("the key {} appears twice", path()));
    }
    level.key = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    // What a person needs of "[json.exception.parse_error.101] parse error at line 1, column 5:
    // syntax error ... - details".
    std::string_view what = error.what();
    if (const size_t start = what.find("] "); start != what.npos) what.remove_prefix(start + 2);
    if (what.starts_with("parse error at line ")) {
      if (const size_t start = what.find(": "); start != what.npos) what.remove_prefix(start + 2);
    }
    constexpr size_t kLongest = 300;
    std::string shown(what.substr(0, kLongest));
    if (what.size() > kLongest) shown += "...";
    return fail(position == 0 ? 0 : position - 1, std::move(shown));
  }

  const std::optional<Failure>& failure() const { return failure_; }
  json take() { return std::move(root_); }

 private:
  struct Level {
    json* container;
    std::string key;  // of the value being read, in an object
  };

  bool fail(size_t offset, std::string what) {
    failure_ = Failure{offset, std::move(what)};
    return false;
  }

  json* place(json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.container->is_array()) {
      level.container->push_back(std::move(value));
      return &level.container->back();
    }
    json& slot = (*level.container)[level.key];
    slot = std::move(value);
    return &slot;
  }

  template <typename Value>
  bool add(Value&& value) {
    place(json(std::forward<Value>(value)));
    return true;
  }

  bool open(json container) {
    if (levels_.size() == kMaxJsonDepth) {
      return fail(num_read_ - 1, fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    }
    levels_.push_back({place(std::move(container)), {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  // The keys (and, in arrays, indices) down to the key just read.
  std::string path() const {
    std::string joined;
    for (const Level& level : levels_) {
      if (level.container->is_array()) {
        joined += fmt::format("[{}]", level.container->size() - 1);
      } else {
        joined += (joined.empty() ? "" : ".") + level.key;
      }
    }
    return quote_for_message(joined, '\'');
  }

  // The parser stands behind a string's closing quote; within a string every quote follows a
  // backslash.
  size_t start_of_last_string() const {
    size_t offset = num_read_ - 1;
    while (offset > 0) {
      --offset;
      if (text_[offset] == '"' && (offset == 0 || text_[offset - 1] != '\\')) break;
    }
    return offset;
  }

  const std::string& text_;
  const size_t& num_read_;
  json root_;
  std::vector<Level> levels_;
  std::optional<Failure> failure_;
};

[[noreturn]] void throw_at(const std::string& text,
                           const Failure& failure,
                           const std::string& source,
                           ExitCode code) {
  const std::string_view before = std::string_view(text).substr(0, failure.offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  const auto on_line = newline == before.npos ? before : before.substr(newline + 1);
  const auto column = 1 + std::count_if(on_line.begin(), on_line.end(), starts_character);
  throw_error(code, "{}, line {}, column {}: {}", source, line, column, failure.what);
}

}  // namespace

json parse_strict_json(const std::string& text, const std::string& source, ExitCode code) {
  // The parser takes a zero byte for the end.
  if (const size_t zero = text.find('\0'); zero != std::string::npos) {
    throw_at(text, {zero, "a zero byte, which JSON text cannot hold"}, source, code);
  }
  size_t num_read = 0;
  StrictHandler handler(text, num_read);
  const CountingIterator first(text.data(), &num_read);
  const CountingIterator last(text.data() + text.size(), nullptr);
  const bool complete = json::sax_parse(first, last, &handler);
  if (const auto& failure = handler.failure()) throw_at(text, *failure, source, code);
  LOCKSTEP_CHECK(complete, "the JSON parser gave up without a reason");
  return handler.take();
}

std::string describe_json(const json& value) {
  switch (value.type()) {
    case json::value_t::string:
      return "the string " + quote_for_message(value.get_ref<const std::string&>(), '"');
    case json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "an array";
    case json::value_t::null:
      return "null";
    default:
      return "the number " + value.dump();
  }
}

}  // namespace lockstep
