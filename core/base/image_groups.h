// The groups of consecutive images of a global batch that are normalised together.
#pragma once

#include <cstdint>

namespace lockstep {

// `count` neighbouring groups, from number `first` on, of the `of` into which a global batch of
// `images` is cut. The sizes of the `of` differ by at most one and hang on `images` and `of` alone.
struct ImageGroups {
  int64_t images = 0, of = 1, first = 0, count = 1;

  // Images from the begin of these groups to that of their group g; begin(count) is their end.
  constexpr int64_t begin(int64_t g) const { return border(first + g) - border(first); }
  constexpr int64_t size(int64_t g) const { return border(first + g + 1) - border(first + g); }
  // Of the largest of all `of`.
  constexpr int64_t largest() const { return (images + of - 1) / of; }

  // Where group g of all begins in the global batch.
  constexpr int64_t border(int64_t g) const { return of == 1 ? g * images : g * images / of; }
};

}  // namespace lockstep
