// Names that are parsed once: a Choice is a row of a table, never text that may be in none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/core/base/named_enum.h"

namespace lockstep {

// One row of `Row::table()`, a range of rows with `name` and `description`. `Row::kKind` says in
// messages what is chosen. Constructing or assigning from text parses it, so that code which fills
// a configuration by hand reads as the configuration does.
template <typename Row>
class Choice {
 public:
  using RowType = Row;

  // Throws Error(kUsage), with the nearest name, where no row has this one.
  Choice(std::string_view name) : row_(&parse(name)) {}
  Choice(const char* name) : Choice(std::string_view(name)) {}
  Choice(const std::string& name) : Choice(std::string_view(name)) {}

  const Row& operator*() const { return *row_; }
  const Row* operator->() const { return row_; }

  friend bool operator==(const Choice&, const Choice&) = default;

 private:
  static const Row& parse(std::string_view name) {
    std::vector<std::string> known;
    for (const Row& row : Row::table()) {
      if (row.name == name) return row;
      known.emplace_back(row.name);
    }
    throw_unknown_name(Row::kKind, name, known);
  }

  const Row* row_;
};

template <typename Row>
const char* name_of(const Choice<Row>& choice) {
  return choice->name;
}

}  // namespace lockstep
