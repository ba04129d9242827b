#include "lockstep/core/base/file_io.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lockstep/core/base/error.h"

namespace lockstep {

void throw_file_error(std::string_view action, const std::string& path, int error) {
  std::string_view fix;
  if (error == ENOSPC || error == EDQUOT) fix = "; free some space or choose another folder";
  if (error == EFBIG) fix = "; raise the limit on file sizes (ulimit -f)";
  if (error == EACCES || error == EPERM || error == EROFS) {
    fix = "; choose a folder that this user may write, or change its permissions";
  }
  throw_error(
      ExitCode::kInputOutput, "cannot {} {}: {}{}", action, path, std::strerror(error), fix);
}

int write_all(int descriptor, std::span<const std::byte> bytes) {
  // One call writes at most 2 GiB.
  constexpr size_t kMostPerCall = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), std::min(bytes.size(), kMostPerCall));
    if (count > 0) {
      bytes = bytes.subspan(static_cast<size_t>(count));
    } else if (count < 0 && errno == EAGAIN) {
      pollfd space{.fd = descriptor, .events = POLLOUT, .revents = 0};
      ::poll(&space, 1, -1);
    } else if (count == 0 || errno != EINTR) {
      return count == 0 ? EIO : errno;
    }
  }
  return 0;
}

int write_all(int descriptor, std::string_view text) {
  return write_all(descriptor, std::as_bytes(std::span(text)));
}

std::string folder_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace lockstep
