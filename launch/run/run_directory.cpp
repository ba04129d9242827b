#include "lockstep/launch/run/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/file_io.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/launch/run/resumed_schedule.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = ".lock";

// Returns what is another than before and may be.
std::vector<std::string> compare_configuration(const std::string& path, const Config& config) {
  const std::string file = (fs::path(path) / "config.json").string();
  // A copy of the checkpoints alone is as much of a run.
  const std::optional<std::string> kept = newest_config(path);
  if (!fs::exists(file) && !kept) return {};
  const Config before = fs::exists(file) ? load_config(file, {})
                                         : parse_config(*kept, {}, path + ", newest checkpoint");
  const std::vector<std::string> obstacles = resume_obstacles(before, config);
  if (!obstacles.empty()) {
    throw_error(ExitCode::kUsage,
                "cannot resume {}: its run was started with another configuration:\n  {}\nUse the "
                "same options, or another "
                "--run-dir",
                path,
                fmt::join(obstacles, "\n  "));
  }
  refuse_other_epochs(path, before, config);
  return config_differences(before, config);
}

// A folder with a run, or with files that no run wrote but this one would replace. A run that
// failed before its first line may be started again.
void refuse_taken(const std::string& path) {
  const fs::path folder(path);
  const fs::path metrics = folder / "metrics.jsonl";
  if ((fs::exists(metrics) && !fs::is_empty(metrics)) || fs::exists(folder / "checkpoints")) {
    throw_error(ExitCode::kUsage,
                "{} already holds a run: go on with it by --resume, or give another --run-dir",
                path);
  }
  if (fs::exists(folder / kLock)) return;
  for (const char* name : {"config.json",
                           "environment.json",
                           "digests.jsonl",
                           "best.safetensors",
                           "last.safetensors",
                           "test_predictions.json",
                           "lr_finder.json",
                           "report.html"}) {
    if (!fs::exists(folder / name)) continue;
    throw_error(ExitCode::kUsage,
                "{} holds a file {} that is no run's, and a run would replace it: give another "
                "--run-dir",
                path,
                name);
  }
}

// Advisory lock: the kernel drops it when its process ends, however it ends, so a lock file that a
// killed job left is simply taken over. The file itself stays: removing
// it would let two jobs lock two files of one name.
int take_lock(const std::string& path) {
  const std::string file = (fs::path(path) / kLock).string();
  const int fd = open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (fd < 0)
    throw_error(ExitCode::kInputOutput,
                "cannot write to the run directory {}: {}",
                path,
                std::strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    char holder[300] = "";
    if (read(fd, holder, sizeof holder - 1) < 0) holder[0] = 0;
    close(fd);
    throw_error(
        ExitCode::kUsage,
        "another job is using the run directory {} ({}): wait for it, or give another --run-dir",
        path,
        holder);
  }
  char host[256] = "unknown host";
  gethostname(host, sizeof host - 1);
  const std::string text = fmt::format("process {} on {}", getpid(), host);
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int reason = errno;
    close(fd);
    throw_error(ExitCode::kInputOutput,
                "cannot write to the run directory {}: {}",
                path,
                std::strerror(reason));
  }
  return fd;
}

}  // namespace

void require_run(const std::string& directory, std::initializer_list<const char*> files) {
  const fs::path folder(directory);
  std::error_code error;
  if (!fs::exists(folder, error)) {
    throw_error(ExitCode::kInputOutput,
                "cannot read the run directory {}: {}",
                directory,
                error ? error.message() : "no such folder");
  }
  const auto is_there = [&](const char* name) { return fs::exists(folder / name, error); };
  if (std::ranges::any_of(files, is_there)) return;
  throw_error(ExitCode::kUsage,
              "{} is no run directory: it holds no {}. Give a folder that `lockstep train` wrote "
              "(--run-dir)",
              directory,
              fmt::join(files, " and no "));
}

std::string claim_run_directory(const std::string& model) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  char text[32];
  std::tm local{};
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
  const std::string first = fmt::format("runs/{}-{}", model, text);
  std::error_code error;
  fs::create_directories("runs", error);  // where that fails, mkdir says why
  std::string path = first;
  for (int number = 2; ::mkdir(path.c_str(), 0777) != 0; ++number) {
    if (errno != EEXIST) throw_file_error("make the run directory", path, errno);
    path = fmt::format("{}-{}", first, number);
  }
  return path;
}

RunDirectory::RunDirectory(const std::string& path, const Config& config, bool resume)
    : path_(path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    throw_error(ExitCode::kInputOutput,
                "cannot make the run directory {}: {}",
                path,
                error ? error.message() : "it is not a folder");
  }
  if (!resume) refuse_taken(path);
  lock_ = take_lock(path);
  try {
    if (!resume) refuse_taken(path);  // by a job that has ended since
    if (resume) changes_ = compare_configuration(path, config);
    remove_temporaries(path);  // of writers that were killed
    if (fs::exists(file("checkpoints"))) remove_temporaries(file("checkpoints"));
    fs::remove(file(kStopFile), error);  // it was for the start before
    write_file_durably(file("config.json"), config_to_json(config));
  } catch (...) {
    close(lock_);
    throw;
  }
}

RunDirectory::~RunDirectory() { close(lock_); }

StopFile::StopFile(const std::string& run_directory)
    : path_((fs::path(run_directory) / kStopFile).string()), looked_(Clock::now()) {}

bool StopFile::is_there() {
  const Clock::time_point now = Clock::now();
  if (found_ || now - looked_ < std::chrono::seconds(1)) return found_;
  looked_ = now;
  std::error_code ignored;
  found_ = fs::exists(path_, ignored);
  return found_;
}

std::string RunDirectory::file(const std::string& name) const {
  return (fs::path(path_) / name).string();
}

}  // namespace lockstep
