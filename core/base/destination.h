// What stands where a result is to go, and how it may be written there.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace lockstep {

struct Destination {
  std::string path;            // behind symbolic links: a link stays, what it names is written
  std::optional<mode_t> mode;  // of the regular file that stands there
  bool is_stream = false;      // a pipe, a terminal, /dev/null: written through, never replaced
  int descriptor = -1;         // of a stream that this process has open: /dev/stdout, /dev/fd/3
};

// Throws Error(kUsage) for a folder, a disk or a socket, Error(kInputOutput) for what cannot be
// looked at.
Destination find_destination(const std::string& path);

// The same for formats that are not written from front to end: Error(kUsage) for a stream as well.
Destination file_destination(const std::string& path);

// For commands, before the work whose result goes to `path`. Throws Error(kUsage) for a regular
// file unless `replace`, and as find_destination or file_destination does.
void check_destination(const std::string& path, bool replace);
void check_file_destination(const std::string& path, bool replace);

// Whether what is written to `path` goes to standard output.
bool is_standard_output(const std::string& path);

}  // namespace lockstep
