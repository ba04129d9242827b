#include "lockstep/launch/run/appended_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/file_io.h"
#include "lockstep/core/base/terminal_text.h"

namespace lockstep {

AppendedFile::AppendedFile(const std::string& path, bool fresh) : path_(path) {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_TRUNC : 0);
  descriptor_ = ::open(path.c_str(), flags, 0666);
  if (descriptor_ < 0) throw_file_error("write", path, errno);
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
  complain("lockstep: warning: cannot write {} any longer: {}\n",
           terminal_word(path_),
           std::strerror(error));
}

const std::string& keep_lines(const std::string& path,
                              const std::function<bool(const std::string& line)>& keep) {
  if (!std::filesystem::exists(path)) return path;
  std::istringstream in(read_file(path));
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    if (keep(line)) kept += line + "\n";
  }
  write_file_durably(path, kept);
  return path;
}

}  // namespace lockstep
