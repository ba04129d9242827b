// digests.jsonl: what each tensor of a run held after an update, as 16 hexadecimal digits.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/launch/run/appended_file.h"

namespace lockstep {

// A line an update: {"step": 100, "digests": {"conv1.weight": "0123456789abcdef", …}}. A file that
// cannot be written to any longer costs a warning, not the run.
class DigestFile final : public TrainingObserver {
 public:
  // Appends to `path`, after dropping lines of updates after `resumed_step`. Throws
  // Error(kInputOutput).
  DigestFile(const std::string& path, int64_t resumed_step);
  void on_digests(const DigestReport& report) override;

 private:
  AppendedFile file_;
};

struct DigestLine {
  int64_t step = 0;
  std::vector<std::pair<std::string, std::string>> digests;  // in the order written
};

// Reads such a file from its beginning, line by line.
class DigestReader {
 public:
  // A file that is not there has no lines.
  explicit DigestReader(const std::string& path) : in_(path) {}
  // The next whole line; lines that are none are counted and passed over.
  std::optional<DigestLine> next();
  int64_t unreadable() const { return unreadable_; }

 private:
  std::ifstream in_;
  int64_t unreadable_ = 0;
};

}  // namespace lockstep
