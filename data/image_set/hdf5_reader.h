// HDF5 files read through a narrow door: what the image set's schema needs, checked before anything
// is allocated or read.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "lockstep/data/image_set/hdf5_file.h"

namespace lockstep {

// A dataset that passed the checks of Hdf5Reader::open_dataset.
class Hdf5Dataset {
 public:
  const std::vector<uint64_t>& shape() const { return shape_; }
  // Rows [first, first + count) of the first dimension into `out`. Throws Error(kBadData), as for a
  // failed checksum.
  void read_rows(uint64_t first, uint64_t count, void* out) const;

 private:
  friend class Hdf5Reader;
  std::string file_, name_;
  Hdf5Type type_{};
  std::vector<uint64_t> shape_;
  Hdf5Id id_;
};

// A file opened for reading with distrust. Everything throws Error(kBadData) naming file and object
// for what is not as asked for, a file that is marked as open for writing among it; the constructor
// throws Error(kInputOutput) for a file that is missing, unreadable or locked.
class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::string& path);

  // The group ("/" or "/name") must hold exactly these members, each by a hard link.
  void require_members(const std::string& group, std::initializer_list<const char*> names) const;
  // Attributes of the root. Strings are of fixed length, at most 4,096 bytes each.
  int64_t read_integer(const std::string& attribute) const;
  std::vector<float> read_floats(const std::string& attribute, uint64_t max_count) const;
  std::vector<std::string> read_strings(const std::string& attribute, uint64_t max_count) const;
  std::string read_string(const std::string& attribute) const;
  struct Expected {
    Hdf5Type type{};  // little-endian
    int rank = 0;
    uint64_t max_chunk_rows = 0;  // of a chunk of whole rows
    uint64_t max_row_bytes = 0;
  };
  // Accepts only: a hard link, exactly what is expected, fletcher32 as the only filter, no external
  // or virtual storage, and every chunk in the file at its full size.
  Hdf5Dataset open_dataset(const std::string& name, const Expected& expected) const;

 private:
  struct Attribute;
  [[noreturn]] void refuse_unopened(const std::string& reason) const;
  [[noreturn]] void refuse(const std::string& object, const std::string& what) const;
  void require_hard_link(const std::string& name) const;
  void check_storage(const Hdf5Dataset& dataset, int64_t creation_properties) const;
  // Sets the dataset's shape; returns the bytes of a row.
  uint64_t check_shape(Hdf5Dataset& dataset, const Expected& expected) const;
  Attribute open_attribute(const std::string& name, uint64_t max_count) const;
  void check_chunks(const Hdf5Dataset& dataset,
                    int64_t creation_properties,
                    uint64_t max_chunk_rows,
                    uint64_t row_bytes) const;

  std::string path_;
  uint64_t file_bytes_ = 0;
  Hdf5Id file_;
};

}  // namespace lockstep
