#include "lockstep/launch/launcher/local_ranks.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <system_error>

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::optional<pid_t> as_number(const std::string& name) {
  pid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

// The fourth field of its stat; the second, its name in parentheses, may hold anything.
pid_t parent_of(const fs::path& process) {
  std::ifstream in(process / "stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const size_t name_end = text.rfind(") ");
  if (name_end == std::string::npos || text.size() < name_end + 4) return 0;
  const size_t begin = name_end + 4;
  return as_number(text.substr(begin, text.find(' ', begin) - begin)).value_or(0);
}

bool descends_from(pid_t process, pid_t ancestor, const std::map<pid_t, pid_t>& parents) {
  // The number of generations has an end, whatever /proc says while processes come and go.
  for (int generation = 0; generation < 100; ++generation) {
    const auto it = parents.find(process);
    if (it == parents.end()) return false;
    if (it->second == ancestor) return true;
    process = it->second;
  }
  return false;
}

}  // namespace

std::vector<pid_t> local_ranks(pid_t launcher) {
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error);
  std::map<pid_t, pid_t> parents;
  std::vector<pid_t> candidates;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
    const auto process = as_number(entry.path().filename().string());
    if (!process) continue;
    parents[*process] = parent_of(entry.path());
    std::error_code ignored;
    if (fs::read_symlink(entry.path() / "exe", ignored) == own) candidates.push_back(*process);
  }
  std::erase_if(candidates,
                [&](pid_t process) { return !descends_from(process, launcher, parents); });
  return candidates;
}

}  // namespace lockstep
