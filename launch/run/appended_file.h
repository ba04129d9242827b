// A file that a run adds to while it lasts.
#pragma once

#include <functional>
#include <string>

namespace lockstep {

// Owns the open file. Records are written whole and at once; a file that cannot be written to any
// longer costs one warning on standard error, not the run, and holds whole records only.
class AppendedFile {
 public:
  // `fresh`: what the file held before is dropped. Throws Error(kInputOutput).
  AppendedFile(const std::string& path, bool fresh);
  ~AppendedFile();
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;

  void write(const std::string& record);

 private:
  std::string path_;
  int descriptor_ = -1;
  bool failed_ = false;
};

// Leaves only those lines of the file at `path` that `keep` accepts, of a torn last one too;
// nothing happens where there is no file. Returns the path. Throws Error(kInputOutput).
const std::string& keep_lines(const std::string& path,
                              const std::function<bool(const std::string& line)>& keep);

}  // namespace lockstep
