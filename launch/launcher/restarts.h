// Whether a job whose ranks were lost is worth starting again.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

// What the launcher returns where a rank was killed or crashed (128 + signal), or ended by an
// internal fault or for want of a peer (70).
bool ranks_were_lost(int code);

// The update of the newest checkpoint; -1 where there is none.
int64_t newest_saved_update(const std::string& run_directory);

// Counts restarts. Order of calls, as a regular expression: (begin end)*.
class Restarts {
 public:
  Restarts(std::string run_directory, int64_t most)
      : directory_(std::move(run_directory)), most_(most) {}
  // The job starts.
  void begin() { saved_before_ = newest_saved_update(directory_); }
  // It has ended by losing ranks. Empty: it may start again; else why not. Without a newer
  // checkpoint than when it started it would end in the same way.
  std::string refusal();
  int64_t made() const { return made_; }
  int64_t most() const { return most_; }

 private:
  std::string directory_;
  int64_t most_, made_ = 0, saved_before_ = -1;
};

}  // namespace lockstep
