#include "lockstep/core/base/temporary_name.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <regex>
#include <string_view>
#include <system_error>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/file_io.h"

namespace lockstep {
namespace {

constexpr std::string_view kMark = ".tmp-";

// A signal handler can reach nothing but such variables. More temporary files than there are places
// are not removed by signals.
std::array<std::atomic<const char*>, 16> g_paths{};
static_assert(std::atomic<const char*>::is_always_lock_free);

// Puts `to` where `from` is.
void exchange_path(const char* from, const char* to) {
  for (std::atomic<const char*>& place : g_paths) {
    const char* expected = from;
    if (place.compare_exchange_strong(expected, to)) return;
  }
}

void on_signal(int number) {
  for (const std::atomic<const char*>& path : g_paths) {
    if (const char* name = path.load()) ::unlink(name);  // a folder stays
  }
  // Delivered as soon as this handler returns.
  ::signal(number, SIG_DFL);
  ::raise(number);
}

}  // namespace

std::string make_temporary(const std::string& path,
                           const std::function<bool(const std::string& name)>& make) {
  for (int attempt = 0;; ++attempt) {
    std::string name = fmt::format("{}{}{}-{}", path, kMark, ::getpid(), attempt);
    if (make(name)) return name;
    if (errno != EEXIST || attempt == 1000) throw_file_error("write", path, errno);
  }
}

bool is_temporary_name(const std::string& name) {
  // "-old": what a folder is called while another takes its place (durable_file.cpp).
  static const std::regex pattern(R"(\.tmp-[0-9]+-[0-9]+(-old)?$)");
  return std::regex_search(name, pattern);
}

void remove_temporaries_on_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler != SIG_DFL) continue;
    action.sa_handler = on_signal;
    sigaction(number, &action, nullptr);
  }
}

TemporaryGuard::TemporaryGuard(std::string path) : path_(std::move(path)) {
  exchange_path(nullptr, path_.c_str());
}

TemporaryGuard::~TemporaryGuard() {
  std::error_code ignored;
  if (!released_) std::filesystem::remove_all(path_, ignored);
  exchange_path(path_.c_str(), nullptr);
}

}  // namespace lockstep
