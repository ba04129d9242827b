#include "lockstep/launch/terminal/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace lockstep {
namespace {

constexpr int64_t kLeastWidth = 6;  // fewer marks show nothing
constexpr int64_t kMostWidth = 24;

std::string bar_of(int64_t done, int64_t all, int64_t width) {
  const int64_t share = width * done / std::max<int64_t>(1, all);
  const auto filled = static_cast<size_t>(std::clamp<int64_t>(share, 0, width));
  return std::string(filled, '#') + std::string(static_cast<size_t>(width) - filled, '.');
}

}  // namespace

int64_t terminal_columns() {
  winsize size = {};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

bool terminal_takes_a_bar() {
  const char* kind = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1 && kind != nullptr &&
         *kind != '\0' && std::string_view(kind) != "dumb" && std::getenv("NO_COLOR") == nullptr;
}

std::string progress_bar(const std::string& title,
                         int64_t done,
                         int64_t all,
                         const std::vector<std::string>& facts,
                         int64_t columns) {
  const auto most = static_cast<size_t>(std::max<int64_t>(1, columns - 1));
  std::string right;
  for (const std::string& fact : facts) {
    if (title.size() + right.size() + 2 + fact.size() > most) break;
    right += "  " + fact;
  }
  const int64_t brackets = 3;  // and the space before them
  const int64_t left =
      static_cast<int64_t>(most) - brackets - static_cast<int64_t>(title.size() + right.size());
  std::string bar;
  if (left >= kLeastWidth) bar = " [" + bar_of(done, all, std::min(left, kMostWidth)) + "]";
  return (title + bar + right).substr(0, most);
}

}  // namespace lockstep
