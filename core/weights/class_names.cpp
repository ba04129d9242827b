#include "lockstep/core/weights/class_names.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/terminal_text.h"

namespace lockstep {
namespace {

constexpr size_t kMostShown = 20;

std::string one_list(const std::string& title,
                     const std::vector<std::string>& names,
                     const std::vector<std::string>& others) {
  if (names.size() <= kMostShown) return fmt::format("  {}: {}", title, class_list(names));
  std::vector<std::string> lacking;
  for (const std::string& name : names) {
    if (std::ranges::find(others, name) == others.end()) lacking.push_back(name);
  }
  return fmt::format("  {}: {} classes, of which only here: {}",
                     title,
                     names.size(),
                     lacking.empty() ? "none" : class_list(lacking));
}

}  // namespace

std::optional<std::vector<int64_t>> places_in(const std::vector<std::string>& known,
                                              const std::vector<std::string>& names) {
  std::vector<int64_t> places;
  if (names == known) {
    for (size_t i = 0; i < names.size(); ++i) places.push_back(static_cast<int64_t>(i));
    return places;
  }
  if (names.size() != known.size()) return std::nullopt;
  std::map<std::string, int64_t> by_name;
  for (const std::string& name : known) by_name.emplace(name, static_cast<int64_t>(by_name.size()));
  if (by_name.size() != known.size()) return std::nullopt;
  // Each place once: a name that stands twice would leave another one out.
  for (const std::string& name : names) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return std::nullopt;
    places.push_back(found->second);
    by_name.erase(found);
  }
  return places;
}

std::string class_list(const std::vector<std::string>& names) {
  std::vector<std::string> shown;  // one line, whatever they hold
  for (const std::string& name : std::span(names).first(std::min(names.size(), kMostShown)))
    shown.push_back(terminal_word(name));
  const size_t more = names.size() - shown.size();
  return fmt::format(
      "{}{}", fmt::join(shown, ", "), more > 0 ? fmt::format(", … and {} more", more) : "");
}

std::string class_lists(const std::string& title,
                        const std::vector<std::string>& names,
                        const std::string& other_title,
                        const std::vector<std::string>& other_names) {
  return fmt::format(
      "{}\n{}", one_list(title, names, other_names), one_list(other_title, other_names, names));
}

std::optional<std::vector<std::string>> classes_in(
    const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find("class_names");
  if (found == metadata.end()) return std::nullopt;
  try {
    return parse_strict_json(found->second, "class_names", ExitCode::kBadData)
        .get<std::vector<std::string>>();
  } catch (const Error&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace lockstep
