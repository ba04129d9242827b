#include "lockstep/data/image_set/hdf5_file.h"

#include <fmt/format.h>

#include <type_traits>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/hdf5_internal.h"

namespace lockstep {

static_assert(std::is_same_v<hid_t, int64_t> && std::is_same_v<herr_t, int>);

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

Hdf5Id& Hdf5Id::operator=(Hdf5Id&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = other.release();
    close_ = other.close_;
  }
  return *this;
}

bool Hdf5Id::reset() {
  if (!valid()) return true;
  const Silence silence;
  return close_(release()) >= 0;
}

std::string library_says() {
  std::string text;
  const auto keep_first = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    if (error->desc) *static_cast<std::string*>(out) = error->desc;
    return 1;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  return text.empty() ? "the HDF5 library gives no reason" : "the HDF5 library says: " + text;
}

hid_t stored_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return H5T_STD_U8LE;
    case Hdf5Type::kInt32:
      return H5T_STD_I32LE;
    case Hdf5Type::kUint64:
      return H5T_STD_U64LE;
  }
  LOCKSTEP_CHECK(false, "unknown HDF5 type {}", static_cast<int>(type));
}

hid_t memory_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return H5T_NATIVE_UINT8;
    case Hdf5Type::kInt32:
      return H5T_NATIVE_INT32;
    case Hdf5Type::kUint64:
      return H5T_NATIVE_UINT64;
  }
  LOCKSTEP_CHECK(false, "unknown HDF5 type {}", static_cast<int>(type));
}

uint64_t element_bytes(Hdf5Type type) { return H5Tget_size(stored_type(type)); }

uint64_t bounded_product(const std::vector<uint64_t>& sizes,
                         size_t begin,
                         uint64_t start,
                         uint64_t limit) {
  uint64_t product = start;
  for (size_t i = begin; i < sizes.size(); ++i) {
    if (sizes[i] != 0 && product > limit / sizes[i]) return limit + 1;
    product *= sizes[i];
  }
  return product;
}

Hdf5Id file_access() {
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7) && (H5_VERSION_GE(1, 12, 1) || !H5_VERSION_GE(1, 12, 0))
  H5Pset_file_locking(access.get(), false, true);
#endif
  return access;
}

std::pair<Hdf5Id, Hdf5Id> select_rows(hid_t dataset,
                                      std::vector<hsize_t> shape,
                                      uint64_t first,
                                      uint64_t count) {
  Hdf5Id file_space(H5Dget_space(dataset), H5Sclose);
  std::vector<hsize_t> start(shape.size(), 0);
  start[0] = first;
  shape[0] = count;
  Hdf5Id memory_space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                      H5Sclose);
  H5Sselect_hyperslab(
      file_space.get(), H5S_SELECT_SET, start.data(), nullptr, shape.data(), nullptr);
  return {std::move(file_space), std::move(memory_space)};
}

}  // namespace lockstep
