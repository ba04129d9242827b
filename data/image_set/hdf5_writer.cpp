#include "lockstep/data/image_set/hdf5_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/hdf5_internal.h"

namespace lockstep {
namespace {

// What the library's own metadata may need on top of the data: group and chunk index blocks,
// attributes.
constexpr uint64_t kMetadataReserve = 4 << 20;

}  // namespace

Hdf5Writer::Hdf5Writer(const std::string& path) : path_(path) {
  // After a failed write the library's own clean-up at exit would try again, and can crash.
  H5dont_atexit();
  const Silence silence;
  const Hdf5Id access = file_access();
  // The newest format: its headers and chunk indexes carry checksums.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw_error(ExitCode::kInputOutput, "cannot create {}: {}", path, std::strerror(errno));
  try {
    reserve(0);
    file_ = Hdf5Id(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
    require(file_.valid(), "be created");
  } catch (...) {
    ::close(descriptor_);
    unlink(path.c_str());
    throw;
  }
}

Hdf5Writer::~Hdf5Writer() {
  if (failed_) {
    for (auto& [name, dataset] : datasets_) dataset.id.release();
    file_.release();
  }
  ::close(descriptor_);
}

void Hdf5Writer::require(bool ok, const std::string& what) {
  if (ok) return;
  failed_ = true;
  throw_error(
      ExitCode::kInputOutput, "{} cannot {} ({}). Is the disk full?", path_, what, library_says());
}

void Hdf5Writer::reserve(uint64_t bytes) {
  const uint64_t needed = bytes + kMetadataReserve;
  hsize_t end = 0;
  if (file_.valid()) H5Fget_filesize(file_.get(), &end);
  rlimit limit{};
  int error = 0;
  struct statvfs volume {};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      end + needed > limit.rlim_cur) {
    error = EFBIG;
  } else if (fallocate(descriptor_,
                       FALLOC_FL_KEEP_SIZE,
                       static_cast<off_t>(end),
                       static_cast<off_t>(needed)) != 0) {
    error = errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? errno : 0;
    const bool known = error == 0 && fstatvfs(descriptor_, &volume) == 0 && volume.f_blocks > 0;
    if (known && static_cast<uint64_t>(volume.f_bavail) * volume.f_frsize < needed) error = ENOSPC;
  }
  if (error != 0) {
    throw_error(ExitCode::kInputOutput,
                "{}: {} ({} bytes written so far, {} more needed). Free some space or choose "
                "another place.",
                path_,
                std::strerror(error),
                end,
                needed);
  }
}

void Hdf5Writer::create_group(const std::string& name) {
  const Silence silence;
  const Hdf5Id group(H5Gcreate2(file_.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                     H5Gclose);
  require(group.valid(), "get the group " + name);
}

void Hdf5Writer::create_dataset(const std::string& name,
                                Hdf5Type type,
                                const std::vector<uint64_t>& row_shape,
                                uint64_t chunk_rows) {
  const Silence silence;
  std::vector<hsize_t> shape{0};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  std::vector<hsize_t> limits = shape, chunk = shape;
  limits[0] = H5S_UNLIMITED;
  chunk[0] = chunk_rows;
  const int rank = static_cast<int>(shape.size());
  const Hdf5Id space(H5Screate_simple(rank, shape.data(), limits.data()), H5Sclose);
  const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(properties.get(), rank, chunk.data());
  H5Pset_fletcher32(properties.get());
  Dataset dataset;
  dataset.type = type;
  dataset.shape.assign(shape.begin(), shape.end());
  dataset.id = Hdf5Id(H5Dcreate2(file_.get(),
                                 name.c_str(),
                                 stored_type(type),
                                 space.get(),
                                 H5P_DEFAULT,
                                 properties.get(),
                                 H5P_DEFAULT),
                      H5Dclose);
  require(dataset.id.valid(), "get the dataset " + name);
  datasets_[name] = std::move(dataset);
}

void Hdf5Writer::append_rows(const std::string& name, uint64_t count, const void* rows) {
  if (count == 0) return;
  const Silence silence;
  Dataset& dataset = datasets_.at(name);
  reserve(bounded_product(dataset.shape, 1, element_bytes(dataset.type) * count, UINT64_MAX >> 1));
  const uint64_t first = dataset.shape[0];
  dataset.shape[0] += count;
  const std::vector<hsize_t> shape(dataset.shape.begin(), dataset.shape.end());
  require(H5Dset_extent(dataset.id.get(), shape.data()) >= 0, "grow " + name);
  const auto [file_space, memory_space] = select_rows(dataset.id.get(), shape, first, count);
  require(H5Dwrite(dataset.id.get(),
                   memory_type(dataset.type),
                   memory_space.get(),
                   file_space.get(),
                   H5P_DEFAULT,
                   rows) >= 0,
          "take rows of " + name);
}

void Hdf5Writer::write_attribute(const std::string& name,
                                 int64_t type,
                                 int64_t space,
                                 const void* data) {
  const Hdf5Id id(H5Acreate2(file_.get(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                  H5Aclose);
  require(id.valid() && H5Awrite(id.get(), type, data) >= 0, "take the attribute " + name);
}

void Hdf5Writer::write_integer(const std::string& name, int64_t value) {
  const Silence silence;
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose);
  write_attribute(name, H5T_STD_I64LE, space.get(), &value);
}

void Hdf5Writer::write_floats(const std::string& name, const std::vector<float>& values) {
  const Silence silence;
  const hsize_t count = values.size();
  const Hdf5Id space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  write_attribute(name, H5T_IEEE_F32LE, space.get(), values.data());
}

void Hdf5Writer::write_strings(const std::string& name, const std::vector<std::string>& values) {
  const Silence silence;
  size_t width = 1;
  for (const std::string& value : values) width = std::max(width, value.size());
  std::string bytes(width * values.size(), '\0');
  for (size_t i = 0; i < values.size(); ++i) values[i].copy(bytes.data() + i * width, width);
  const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), width);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const hsize_t count = values.size();
  const Hdf5Id space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  write_attribute(name, type.get(), space.get(), bytes.data());
}

void Hdf5Writer::write_string(const std::string& name, const std::string& value) {
  write_strings(name, {value});
}

void Hdf5Writer::close() {
  const Silence silence;
  reserve(0);
  bool ok = H5Fflush(file_.get(), H5F_SCOPE_LOCAL) >= 0;
  require(ok, "be written");
  for (auto& [name, dataset] : datasets_) ok = dataset.id.reset() && ok;
  ok = file_.reset() && ok;
  struct stat status {};
  // Cutting the file at its own end gives back what was reserved beyond.
  ok = ok && fstat(descriptor_, &status) == 0 && ftruncate(descriptor_, status.st_size) == 0;
  require(ok && fsync(descriptor_) == 0, "be written");
}

}  // namespace lockstep
