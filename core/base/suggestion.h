// "Did you mean ...?" for names that a person typed.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// What people call something by a name that is not its own: {"lr", "optimizer.learning_rate"}.
struct Alias {
  std::string_view word;  // in lower case, with underscores
  std::string_view meant;
};

// What `word` stands for, whatever its case and with '-' as '_'; empty: it is no alias.
std::string meaning_of(const std::string& word, std::span<const Alias> aliases);

// The known name nearest to `word` by Damerau-Levenshtein distance (insertions, deletions,
// substitutions, swaps of neighbours; letter case is ignored), the first of them on a tie. Empty
// when none is within a third of the word's length (1 to 3 edits).
std::string nearest_of(const std::string& word, const std::vector<std::string>& known);

// ": did you mean 'NEAREST'?", to follow the complaint about `word`; empty when nothing is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& known);

}  // namespace lockstep
