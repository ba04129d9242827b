#include "lockstep/data/loading/index_range.h"

#include <algorithm>

#include "lockstep/core/base/error.h"

namespace lockstep {

IndexRange contiguous_part(int64_t total, int64_t part, int64_t num_parts) {
  LOCKSTEP_CHECK(total >= 0 && part >= 0 && part < num_parts,
                 "part {} of {} of {} items",
                 part,
                 num_parts,
                 total);
  const int64_t small = total / num_parts;
  const int64_t num_larger = total % num_parts;
  const int64_t begin = part * small + std::min(part, num_larger);
  return {begin, begin + small + (part < num_larger ? 1 : 0)};
}

}  // namespace lockstep
