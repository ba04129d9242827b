#include "lockstep/launch/run/appended_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/terminal_text.h"

namespace lockstep {
namespace {

// Returns 0 or the error number.
int write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count > 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return count == 0 ? EIO : errno;
    }
  }
  return 0;
}

}  // namespace

AppendedFile::AppendedFile(const std::string& path, bool fresh) : path_(path) {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_TRUNC : 0);
  descriptor_ = ::open(path.c_str(), flags, 0666);
  if (descriptor_ < 0)
    throw_error(ExitCode::kInputOutput, "cannot write {}: {}", path, std::strerror(errno));
}

AppendedFile::~AppendedFile() { ::close(descriptor_); }

void AppendedFile::write(const std::string& record) {
  struct stat before {};
  const bool known = ::fstat(descriptor_, &before) == 0;
  const int error = write_all(descriptor_, record);
  if (error == 0) return;
  // A part of a record would spoil those that follow, once there is space again.
  if (known && S_ISREG(before.st_mode)) {
    [[maybe_unused]] const int result = ::ftruncate(descriptor_, before.st_size);
  }
  if (failed_) return;
  failed_ = true;
  fmt::print(stderr,
             "lockstep: warning: cannot write {} any longer: {}\n",
             terminal_word(path_),
             std::strerror(error));
}

}  // namespace lockstep
