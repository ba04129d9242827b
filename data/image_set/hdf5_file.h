// What reading and writing HDF5 files share: identifiers with an owner, and the types of the image
// set's schema. Identifiers are the library's hid_t, a 64-bit integer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

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

}  // namespace lockstep
