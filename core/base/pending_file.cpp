#include "lockstep/core/base/pending_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/file_io.h"

namespace lockstep {
namespace {

std::string make_file(const std::string& path, Descriptor& file) {
  return make_temporary(path, [&](const std::string& name) {
    file = Descriptor(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    return file.is_open();
  });
}

}  // namespace

PendingFile::PendingFile(const std::string& path) : PendingFile(path, file_destination(path)) {}

PendingFile::PendingFile(const std::string& path, Destination destination)
    : path_(path),
      destination_(std::move(destination)),
      file_(-1),
      guard_(make_file(destination_.path, file_)) {
  // It fails only where the file system has no permissions to keep.
  if (destination_.mode) static_cast<void>(::fchmod(file_.value(), *destination_.mode));
}

void PendingFile::commit() {
  if (::fsync(file_.value()) != 0) throw_file_error("write", path_, errno);
  if (const int error = file_.close(); error != 0) throw_file_error("write", path_, error);
  if (std::rename(temporary().c_str(), destination_.path.c_str()) != 0)
    throw_file_error("write", path_, errno);
  guard_.release();
  fsync_folder(folder_of(destination_.path));
}

}  // namespace lockstep
