// Numbers as words, for people.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

// "1 rank", "2 ranks"
std::string plural(int64_t count, const char* one);

// "3 min 20 s", "2 h 05 min"
std::string format_duration(double seconds);

// "0.4554" with 4 digits; "not finite" for NaN and infinities, whose sign tells nothing.
std::string decimals(double number, int digits);

}  // namespace lockstep
