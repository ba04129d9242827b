// Text from outside as text of a page, and numbers for people.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

// `text` for element content and quoted attributes: markup is escaped, bytes that are not UTF-8 and
// control characters become U+FFFD, and what is longer than `max_bytes` is cut (at a character) and
// ends in an ellipsis.
std::string html_text(const std::string& text, size_t max_bytes = 400);

// "0.4554"; "–" for a number that is not finite.
std::string loss_text(double loss);
// A fraction: "84.48 %".
std::string percent_text(double fraction);
// "12,345"
std::string count_text(int64_t count);
// At most four significant digits: "0.1", "1.2e-05", "1,234".
std::string number_text(double number);

}  // namespace lockstep
