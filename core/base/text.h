// Text from outside.
#pragma once

#include <string>

namespace lockstep {

// Whether a byte of UTF-8 text is the first of a character.
inline bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

bool is_utf8(const std::string& text);

// A string from outside, fit for a terminal: quoted by `quote`, control characters escaped, cut
// after 80 characters.
std::string quote_for_message(const std::string& text, char quote);

// Of ASCII's letters.
std::string lower_case(std::string text);

// A word of a command that is printed for people to copy: quoted where a shell would not leave it
// as it is.
std::string shell_word(const std::string& text);

}  // namespace lockstep
