// Whether the files that a run left behind are what the run wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct CheckedFile {
  std::string name;  // within the run directory
  bool sound = true;
  std::string what;  // "update 240, epoch 10"; of one that is not sound: why
};

struct CheckedRun {
  std::vector<CheckedFile> files;
  int64_t resumes_from = 0;          // the update of the newest sound checkpoint; 0: none
  std::vector<std::string> weights;  // "best", "last": those that can be used

  bool sound() const;
};

// Reads every file that a run keeps, checkpoints through their digests. Throws Error as
// require_run (run_directory.h).
CheckedRun check_run(const std::string& directory);

}  // namespace lockstep
