// Contiguous parts of something numbered.
#pragma once

#include <cstdint>

namespace lockstep {

struct IndexRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const IndexRange&) const = default;
};

// Part `part` of `total` items cut into `num_parts` contiguous parts whose sizes differ by at most
// one (the first ones are larger). May be empty.
IndexRange contiguous_part(int64_t total, int64_t part, int64_t num_parts);

}  // namespace lockstep
