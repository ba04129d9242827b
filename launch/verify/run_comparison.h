// Up to where two runs are the same, and where they part.
#pragma once

#include <ATen/core/Tensor.h>

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

// Of dense tensors on the CPU: dtype, shape and bytes.
bool same_bits(const at::Tensor& a, const at::Tensor& b);

// By digests (logging.digest_every_steps), and by the tensors of checkpoints of the same update.
// Damaged checkpoints, and lines that cannot be read, are passed over. Throws Error as
// require_run (run_directory.h).
RunComparison compare_runs(const std::string& a, const std::string& b);

}  // namespace lockstep
