#include "lockstep/launch/report/words.h"

#include <fmt/format.h>

#include <cmath>

namespace lockstep {

std::string plural(int64_t count, const char* one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string format_duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
  if (s >= 60) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} s", s);
}

std::string decimals(double number, int digits) {
  return std::isfinite(number) ? fmt::format("{:.{}f}", number, digits) : "not finite";
}

}  // namespace lockstep
