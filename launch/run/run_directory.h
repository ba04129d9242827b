// The folder of one run: made, locked and checked before training starts. Rank 0's business.
#pragma once

#include <string>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Makes a folder that no other job has: "runs/<model>-<date>-<time>", where jobs begin in the same
// second with "-2", "-3", … behind it. Throws Error(kInputOutput) when it cannot be made.
std::string claim_run_directory(const std::string& model);

// Holds the lock of a run directory for as long as it lives.
class RunDirectory {
 public:
  // Makes the folder, or takes an existing one that holds no file of the names that a run gives, or
  // with `resume` one that holds a run. Throws Error: kUsage when it holds a run or such files and
  // `resume` is false, when another live job holds its lock, or when it was run with a
  // configuration that differs in what determines the numbers (refuse_other_epochs); kInputOutput
  // when it cannot be written to.
  RunDirectory(const std::string& path, const Config& config, bool resume);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const;

 private:
  std::string path_;
  int lock_ = -1;
};

}  // namespace lockstep
