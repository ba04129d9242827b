// The folder of one run: made, locked and checked before training starts. Rank 0's business.
#pragma once

#include <chrono>
#include <initializer_list>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"

namespace lockstep {

// Throws Error: kInputOutput for a folder that is not there, kUsage for one that holds none of the
// `files` by which a run is known.
void require_run(const std::string& directory, std::initializer_list<const char*> files);

// A file of this name in the run directory asks the run to save and stop. The next start removes
// it.
inline constexpr const char* kStopFile = "STOP";

// Looks for it, at most once a second: network file systems take a while to answer.
class StopFile {
 public:
  explicit StopFile(const std::string& run_directory);
  bool is_there();

 private:
  using Clock = std::chrono::steady_clock;
  std::string path_;
  Clock::time_point looked_;
  bool found_ = false;
};

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
  // Of a run that goes on: "limits.steps: 100 != 200", before and now. Not of its first start.
  const std::vector<std::string>& changes() const { return changes_; }

 private:
  std::string path_;
  std::vector<std::string> changes_;
  int lock_ = -1;
};

}  // namespace lockstep
