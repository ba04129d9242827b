// Classes told apart by their names, wherever weights meet other images than their own: a class's
// number is its place in its set's list, so that equal numbers may mean different things.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

// For each of `names` its place in `known`. Nothing where the two lists do not hold the same names,
// or hold one twice in different orders.
std::optional<std::vector<int64_t>> places_in(const std::vector<std::string>& known,
                                              const std::vector<std::string>& names);

// The names in one line for a message: the first 20, and how many more there are.
std::string class_list(const std::vector<std::string>& names);

// Both lists for a refusal, a line each, indented; of long ones the names that the other lacks.
std::string class_lists(const std::string& title,
                        const std::vector<std::string>& names,
                        const std::string& other_title,
                        const std::vector<std::string>& other_names);

// What the metadata of weights say of their classes, by their numbers; nothing where they say
// nothing that can be read.
std::optional<std::vector<std::string>> classes_in(
    const std::map<std::string, std::string>& metadata);

}  // namespace lockstep
