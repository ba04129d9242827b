// Pieces over <hdf5.h> for hdf5_*.cpp alone, the only sources that see it.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/data/image_set/hdf5_file.h"

namespace lockstep {

// The library prints errors to stderr unless told otherwise, per thread.
class Silence {
 public:
  Silence() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Silence() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// Call while a Silence is alive: ending one clears the library's error stack.
std::string library_says();

hid_t stored_type(Hdf5Type type);
hid_t memory_type(Hdf5Type type);
uint64_t element_bytes(Hdf5Type type);

// Product of sizes, or `limit` + 1 where it is larger than `limit`.
uint64_t bounded_product(const std::vector<uint64_t>& sizes,
                         size_t begin,
                         uint64_t start,
                         uint64_t limit);

// Image sets appear whole by renaming, so a lock protects nothing, and file systems without locks
// would refuse the file.
Hdf5Id file_access();

// Rows [first, first + count) of a dataset as a file space, with its memory space.
std::pair<Hdf5Id, Hdf5Id> select_rows(hid_t dataset,
                                      std::vector<hsize_t> shape,
                                      uint64_t first,
                                      uint64_t count);

}  // namespace lockstep
