// A folder for files that nobody keeps.
#pragma once

#include <string>

namespace lockstep {

// Lies in the folder for temporary files, and goes with all it holds when this object does.
class ScratchFolder {
 public:
  // "lockstep-<purpose>-" and something that no other has. Throws Error(kInputOutput).
  explicit ScratchFolder(const std::string& purpose);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace lockstep
