#include "lockstep/core/base/destination.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/file_io.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// The number in /proc/self/fd/<number>, by whatever name that folder goes; else -1.
int own_descriptor(const std::string& path) {
  std::error_code error, no_proc;
  const fs::path folder = fs::canonical(folder_of(path), error);
  if (error || folder != fs::canonical("/proc/self/fd", no_proc) || no_proc) return -1;
  const std::string name = fs::path(path).filename().string();
  int number = -1;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return number;
}

// Follows links, also to what is not there yet. A descriptor's link is none: its file may have lost
// its name, and is written where the descriptor stands.
Destination behind_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // the kernel's own limit
  Destination found;
  found.path = path;
  for (int links = 0; links < kMostLinks; ++links) {
    found.descriptor = own_descriptor(found.path);
    if (found.descriptor >= 0) return found;
    std::error_code no_link;
    const fs::path target = fs::read_symlink(found.path, no_link);
    if (no_link) return found;
    found.path = (fs::path(folder_of(found.path)) / target).string();
  }
  throw_file_error("write", path, ELOOP);
}

void refuse_existing(const Destination& found, const std::string& path, bool replace) {
  if (found.mode && !replace) {
    throw_error(
        ExitCode::kUsage, "{} already exists: give another name, or --force to replace it", path);
  }
}

}  // namespace

Destination find_destination(const std::string& path) {
  Destination found = behind_links(path);
  struct stat status {};
  if (::stat(found.path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return found;  // there is nothing, or no folder
    throw_file_error("write", path, errno);
  }
  const mode_t type = status.st_mode & S_IFMT;
  found.is_stream = found.descriptor >= 0 || type == S_IFIFO || type == S_IFCHR;
  if (found.is_stream) return found;
  if (type != S_IFREG) {
    throw_error(ExitCode::kUsage,
                "cannot write to {}: it is a {}, which is left alone; give the name of a file",
                path,
                type == S_IFDIR   ? "folder"
                : type == S_IFBLK ? "disk"
                                  : "socket");
  }
  found.mode = status.st_mode & 07777;
  return found;
}

void check_destination(const std::string& path, bool replace) {
  refuse_existing(find_destination(path), path, replace);
}

Destination file_destination(const std::string& path) {
  Destination found = find_destination(path);
  if (found.is_stream) {
    throw_error(
        ExitCode::kUsage,
        "cannot write to {}: it is a pipe, a terminal or a device, and such a file cannot be "
        "written through one; give the name of a file",
        path);
  }
  return found;
}

void check_file_destination(const std::string& path, bool replace) {
  refuse_existing(file_destination(path), path, replace);
}

bool is_standard_output(const std::string& path) {
  struct stat output {
  }, other{};
  return ::fstat(STDOUT_FILENO, &output) == 0 && ::stat(path.c_str(), &other) == 0 &&
         output.st_dev == other.st_dev && output.st_ino == other.st_ino;
}

}  // namespace lockstep
