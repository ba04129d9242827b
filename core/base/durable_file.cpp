#include "lockstep/core/base/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "lockstep/core/base/descriptor.h"
#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/file_io.h"
#include "lockstep/core/base/git_lfs.h"
#include "lockstep/core/base/pending_file.h"
#include "lockstep/core/base/temporary_name.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void fsync_path(const std::string& path, int flags) {
  Descriptor file(::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) throw_file_error("write", path, errno);
  // Some network file systems cannot sync a folder, since they write its changes through.
  const bool unsupported_is_fine = (flags & O_DIRECTORY) != 0;
  if (::fsync(file.value()) != 0 && !(unsupported_is_fine && errno == EINVAL)) {
    throw_file_error("write", path, errno);
  }
  if (const int error = file.close(); error != 0) throw_file_error("write", path, error);
}

void fsync_tree(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_symlink()) continue;
    if (entry->is_directory()) {
      fsync_tree(entry->path().string());
    } else if (entry->is_regular_file()) {
      fsync_path(entry->path().string(), 0);
    }
  }
  if (error) throw_file_error("read", folder, error.value());
  fsync_folder(folder);
}

// Renames `temporary` to `path` and gives an existing `path` the name `temporary`, at once where
// the file system can.
void swap_folders(const std::string& temporary, const std::string& path) {
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0)
    return;
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
    throw_file_error("write", path, errno);
  // Network file systems cannot exchange: for a moment there is none, but each one is whole.
  const std::string old = temporary + "-old";
  if (::rename(path.c_str(), old.c_str()) != 0) throw_file_error("replace", path, errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::rename(old.c_str(), path.c_str());
    throw_file_error("write", path, error);
  }
  ::rename(old.c_str(), temporary.c_str());
}

void write_through(const Destination& stream,
                   std::span<const std::byte> bytes,
                   const std::string& path) {
  Descriptor file(stream.descriptor >= 0 ? ::fcntl(stream.descriptor, F_DUPFD_CLOEXEC, 0)
                                         : ::open(stream.path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.is_open()) throw_file_error("write", path, errno);
  if (const int error = write_all(file.value(), bytes); error != 0)
    throw_file_error("write", path, error);
  if (const int error = file.close(); error != 0) throw_file_error("write", path, error);
}

}  // namespace

void write_file_durably(const std::string& path, std::span<const std::byte> bytes) {
  const Destination destination = find_destination(path);
  if (destination.is_stream) return write_through(destination, bytes, path);
  PendingFile file(path, destination);
  if (const int error = write_all(file.descriptor(), bytes); error != 0)
    throw_file_error("write", path, error);
  file.commit();
}

void write_file_durably(const std::string& path, const std::string& text) {
  write_file_durably(path, std::as_bytes(std::span(text)));
}

void write_folder_durably(const std::string& path,
                          const std::function<void(const std::string& temporary_folder)>& fill) {
  const std::string target = without_trailing_slashes(path);
  const std::string temporary = make_temporary(
      target, [](const std::string& name) { return ::mkdir(name.c_str(), 0777) == 0; });
  TemporaryGuard guard(temporary);  // after an exchange, what it removes is the old folder
  fill(temporary);
  fsync_tree(temporary);
  struct stat status {};
  if (::lstat(target.c_str(), &status) == 0) {
    swap_folders(temporary, target);
  } else {
    if (::rename(temporary.c_str(), target.c_str()) != 0) throw_file_error("write", path, errno);
    guard.release();
  }
  fsync_folder(folder_of(target));
}

void remove_folder_whole(const std::string& path) {
  const std::string target = without_trailing_slashes(path);
  std::error_code ignored;
  try {
    const std::string gone = make_temporary(target, [&](const std::string& name) {
      return ::rename(target.c_str(), name.c_str()) == 0;
    });
    fs::remove_all(gone, ignored);
  } catch (const Error&) {
    return;  // it cannot be renamed, and so not removed either
  }
}

void remove_temporaries(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!is_temporary_name(entry->path().filename().string())) continue;
    std::error_code ignored;
    fs::remove_all(entry->path(), ignored);
  }
  if (error) throw_file_error("read", folder, error.value());
}

std::string read_file(const std::string& path, size_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.is_open() || ::fstat(file.value(), &status) != 0) throw_file_error("read", path, errno);
  const auto refuse_size = [&] {
    throw_error(ExitCode::kInputOutput,
                "cannot read {}: it is larger than the {} bytes that are sensible for such a file",
                path,
                max_bytes);
  };
  const size_t expected = S_ISREG(status.st_mode) ? static_cast<size_t>(status.st_size) : 0;
  if (expected > max_bytes) refuse_size();
  // The size is a hint: pipes and files that grow are read until they end.
  constexpr size_t kStep = size_t{1} << 16;
  std::string bytes(expected, '\0');
  size_t filled = 0;
  for (;;) {
    char more[kStep];
    const bool in_place = filled < bytes.size();
    const ssize_t count = ::read(file.value(),
                                 in_place ? bytes.data() + filled : more,
                                 in_place ? bytes.size() - filled : kStep);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_file_error("read", path, errno);
    if (count == 0) break;
    if (!in_place) bytes.append(more, static_cast<size_t>(count));
    filled += static_cast<size_t>(count);
    if (filled > max_bytes) refuse_size();
  }
  bytes.resize(filled);
  refuse_lfs_pointer(bytes, path);
  return bytes;
}

void fsync_folder(const std::string& path) { fsync_path(path, O_DIRECTORY); }

}  // namespace lockstep
