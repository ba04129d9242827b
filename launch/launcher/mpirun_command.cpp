#include "lockstep/launch/launcher/mpirun_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

constexpr int kMostRanks = 1'000'000;

// For the shell: quotes within it are closed, written, and opened again.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), &pclose);
  std::string text;
  char buffer[4096];
  while (pipe) {
    const size_t count = fread(buffer, 1, sizeof buffer, pipe.get());
    if (count == 0) break;
    text.append(buffer, count);
  }
  return text;
}

}  // namespace

MpiLauncher identify_launcher(const std::string& mpirun) {
  const std::string version = output_of(quoted(mpirun) + " --version 2>&1 < /dev/null");
  // Open MPI's mpiexec calls itself by the name of its launcher.
  for (const char* name : {"Open MPI", "OpenRTE", "PRRTE"})
    if (version.find(name) != std::string::npos) return MpiLauncher::kOpenMpi;
  for (const char* name : {"HYDRA", "MPICH", "Intel(R) MPI"})
    if (version.find(name) != std::string::npos) return MpiLauncher::kMpich;
  throw_error(ExitCode::kUsage,
              "'{}' is not the mpirun of Open MPI or MPICH: install it (launch/setup.sh does), put "
              "it into PATH, or name it by --mpirun",
              mpirun);
}

std::vector<RankHost> parse_hosts(const std::string& text) {
  std::vector<RankHost> hosts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const size_t colon = item.rfind(':');
    RankHost host{item.substr(0, colon), 0};
    if (colon != std::string::npos) {
      const char* last = item.data() + item.size();
      const auto [rest, error] = std::from_chars(item.data() + colon + 1, last, host.ranks);
      if (error != std::errc() || rest != last) host.ranks = 0;
    }
    if (host.name.empty() || host.ranks < 1 || host.ranks > kMostRanks) {
      throw_error(
          ExitCode::kUsage,
          "--hosts: '{}' does not say which host takes how many ranks: write node1:4,node2:4",
          item);
    }
    hosts.push_back(std::move(host));
    begin = end + 1;
  }
  return hosts;
}

std::vector<std::string> mpirun_command(const std::string& mpirun,
                                        MpiLauncher launcher,
                                        const RanksToStart& start) {
  std::vector<std::string> words{mpirun, "-np", std::to_string(start.ranks)};
  const auto add = [&](std::initializer_list<std::string> more) {
    words.insert(words.end(), more);
  };
  std::vector<std::string> hosts;
  for (const RankHost& host : start.hosts)
    hosts.push_back(fmt::format("{}:{}", host.name, host.ranks));
  if (launcher == MpiLauncher::kMpich) {
    if (!hosts.empty()) add({"-hosts", fmt::format("{}", fmt::join(hosts, ","))});
    add({"-bind-to", "none"});
    return words;
  }
  if (start.as_root) add({"--allow-run-as-root"});
  if (!hosts.empty()) {
    add({"--host", fmt::format("{}", fmt::join(hosts, ","))});
    // Without keepalives mpirun itself can wait for ever for a host whose link is dead.
    for (const auto& [name, value] : {std::pair{"time", "5"}, {"intvl", "2"}, {"probes", "3"}})
      add({"--mca", fmt::format("oob_tcp_keepalive_{}", name), value});
    add({"--bind-to", "none"});
    return words;
  }
  if (start.ranks > start.cores) add({"--oversubscribe"});
  if (start.numa_nodes > 1 && start.ranks >= start.numa_nodes && start.ranks <= start.cores) {
    add({"--map-by", "numa", "--bind-to", "numa"});
  } else {
    add({"--bind-to", "none"});
  }
  return words;
}

int count_numa_nodes() {
  int nodes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/devices/system/node", error)) {
    const std::string name = entry.path().filename().string();
    const bool is_node = name.size() > 4 && name.starts_with("node") &&
                         name.find_first_not_of("0123456789", 4) == std::string::npos;
    if (is_node) ++nodes;
  }
  return std::max(1, nodes);
}

}  // namespace lockstep
