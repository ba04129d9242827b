// HDF5 files behind a narrow door: what the image set's schema needs, checked before anything is
// allocated or read. hdf5_file.cpp is the only source that sees <hdf5.h>; identifiers are its
// hid_t, a 64-bit integer.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

// Owner of one HDF5 identifier.
class Hdf5Id {
 public:
  using Close = int (*)(int64_t);
  Hdf5Id() = default;
  Hdf5Id(int64_t id, Close close) : id_(id), close_(close) {}
  ~Hdf5Id() { reset(); }
  Hdf5Id(Hdf5Id&& other) noexcept : id_(other.release()), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept;
  int64_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }
  int64_t release() { return std::exchange(id_, -1); }
  // Closes now; false when the library refuses.
  bool reset();

 private:
  int64_t id_ = -1;
  Close close_ = nullptr;
};

// Of the library: "1.10.8".
std::string hdf5_version();

enum class Hdf5Type { kUint8, kInt32, kUint64 };

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
// for what is not as asked for; the constructor throws Error(kInputOutput) for a file that is
// missing, unreadable or locked.
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
  // Accepts only: a hard link, exactly this little-endian type and rank, chunks of at most
  // max_chunk_rows whole rows of at most max_row_bytes, fletcher32 as the only filter, no external
  // or virtual storage, and every chunk in the file at its full size.
  Hdf5Dataset open_dataset(const std::string& name,
                           Hdf5Type type,
                           int rank,
                           uint64_t max_chunk_rows,
                           uint64_t max_row_bytes) const;

 private:
  struct Attribute;
  [[noreturn]] void refuse(const std::string& object, const std::string& what) const;
  void require_hard_link(const std::string& name) const;
  Attribute open_attribute(const std::string& name, uint64_t max_count) const;
  void check_chunks(const Hdf5Dataset& dataset,
                    int64_t creation_properties,
                    uint64_t max_chunk_rows,
                    uint64_t row_bytes) const;

  std::string path_;
  uint64_t file_bytes_ = 0;
  Hdf5Id file_;
};

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
