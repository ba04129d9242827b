// Bytes as text (RFC 4648, section 4), through OpenSSL.
#pragma once

#include <string>

namespace lockstep {

std::string base64(const std::string& bytes);

// Whether `text` is what base64() could have made: whole groups of four of its alphabet, padding at
// the end alone.
bool is_base64(const std::string& text);

}  // namespace lockstep
