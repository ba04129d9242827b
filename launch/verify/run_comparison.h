// Up to where two runs are the same, and where they part.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct RunComparison {
  enum class Outcome {
    kSame,           // in all that both have kept
    kDiffer,         // from `parted_at` on
    kNotComparable,  // other settings, images or arithmetic, by `reasons`
    kNothingShared,  // no update of which both have kept something
  };
  Outcome outcome = Outcome::kNothingShared;
  int64_t same_until = 0;            // the last update in which all is equal; 0: none was compared
  int64_t parted_at = 0;             // the first in which something differs
  std::vector<std::string> tensors;  // that differ then, in the order in which they were kept
  std::vector<std::string> reasons;
  bool reproducible = false;             // distributed.reproducible of both
  int64_t digests = 0, checkpoints = 0;  // updates compared by each
};

// By digests (logging.digest_every_steps), and by the tensors of checkpoints of the same update.
// Damaged checkpoints, and lines that cannot be read, are passed over. Throws Error as check_run
// for folders that hold no run.
RunComparison compare_runs(const std::string& a, const std::string& b);

}  // namespace lockstep
