#include "lockstep/core/base/suggestion.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

// Names are short; a longer word is not a misspelling of one, and the distance costs the product of
// the lengths.
constexpr size_t kLongestWord = 200;

// Optimal string alignment, the restricted Damerau-Levenshtein distance: three rows of the usual
// table.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_previous(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before_previous[j - 2] + 1);
      }
    }
    std::swap(before_previous, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

}  // namespace

std::string meaning_of(const std::string& word, std::span<const Alias> aliases) {
  std::string wanted = lower_case(word);
  std::ranges::replace(wanted, '-', '_');
  const auto found = std::ranges::find(aliases, wanted, &Alias::word);
  return found == aliases.end() ? "" : std::string(found->meant);
}

std::string nearest_of(const std::string& word, const std::vector<std::string>& known) {
  if (word.empty() || word.size() > kLongestWord) return {};
  const std::string wanted = lower_case(word);
  size_t least = std::clamp<size_t>(word.size() / 3, 1, 3) + 1;
  std::string nearest;
  for (const std::string& name : known) {
    const size_t distance = edit_distance(wanted, lower_case(name));
    if (distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_of(word, known);
  return nearest.empty() ? "" : ": did you mean '" + nearest + "'?";
}

}  // namespace lockstep
