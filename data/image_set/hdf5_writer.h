// New HDF5 files, as the image set's schema needs them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lockstep/data/image_set/hdf5_file.h"

namespace lockstep {

// A new file. Reserves disk space before the library writes, since the library can crash on a full
// disk. Everything throws Error(kInputOutput) for what the file system refuses.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::string& path);
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void create_group(const std::string& name);
  // Shape [0, row_shape...], growing along the first dimension, in chunks of chunk_rows rows with
  // fletcher32.
  void create_dataset(const std::string& name,
                      Hdf5Type type,
                      const std::vector<uint64_t>& row_shape,
                      uint64_t chunk_rows);
  void append_rows(const std::string& name, uint64_t count, const void* rows);
  // Attributes of the root.
  void write_integer(const std::string& attribute, int64_t value);
  void write_floats(const std::string& attribute, const std::vector<float>& values);
  void write_strings(const std::string& attribute, const std::vector<std::string>& values);
  void write_string(const std::string& attribute, const std::string& value);
  // Everything to the device (fsync). Nothing may follow.
  void close();

 private:
  struct Dataset {
    Hdf5Id id;
    Hdf5Type type{};
    std::vector<uint64_t> shape;
  };
  // Throws unless `ok`; from then on the file's identifiers are leaked, for closing them would make
  // the library write again.
  void require(bool ok, const std::string& what);
  void reserve(uint64_t bytes);
  void write_attribute(const std::string& name, int64_t type, int64_t space, const void* data);

  std::string path_;
  bool failed_ = false;
  int descriptor_ = -1;  // of the same file, to reserve space and to sync
  Hdf5Id file_;
  std::map<std::string, Dataset> datasets_;
};

}  // namespace lockstep
