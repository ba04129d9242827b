// "Did you mean ...?" for names that a person typed.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

// The known name nearest to `word` by Damerau-Levenshtein distance (insertions, deletions,
// substitutions, swaps of neighbours; letter case is ignored), the first of them on a tie. Empty
// when none is within a third of the word's length (1 to 3 edits).
std::string nearest_of(const std::string& word, const std::vector<std::string>& known);

// ": did you mean 'NEAREST'?", to follow the complaint about `word`; empty when nothing is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& known);

}  // namespace lockstep
