#include "lockstep/data/image_set/hdf5_file.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

static_assert(std::is_same_v<hid_t, int64_t> && std::is_same_v<herr_t, int>);

constexpr uint64_t kMaxStringBytes = 4096;
constexpr uint64_t kChecksumBytes = 4;
// What the library's own metadata may need on top of the data: group and chunk index blocks,
// attributes.
constexpr uint64_t kMetadataReserve = 4 << 20;

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

const char* type_name(Hdf5Type type) {
  return type == Hdf5Type::kUint8   ? "unsigned 8-bit"
         : type == Hdf5Type::kInt32 ? "signed 32-bit"
                                    : "unsigned 64-bit";
}

// Product of sizes, or `limit` + 1 where it is larger than `limit`.
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

// Image sets appear whole by renaming, so a lock protects nothing, and file systems without locks
// would refuse the file.
Hdf5Id file_access() {
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.get(), false, true);
#endif
  return access;
}

// Rows [first, first + count) of a dataset as a file space, with its memory space.
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

}  // namespace

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

void Hdf5Dataset::read_rows(uint64_t first, uint64_t count, void* out) const {
  if (count == 0) return;
  LOCKSTEP_CHECK(first + count <= shape_[0], "rows {} + {} of {}", first, count, shape_[0]);
  const Silence silence;
  const auto [file_space, memory_space] =
      select_rows(id_.get(), {shape_.begin(), shape_.end()}, first, count);
  if (H5Dread(
          id_.get(), memory_type(type_), memory_space.get(), file_space.get(), H5P_DEFAULT, out) <
      0) {
    throw_error(ExitCode::kBadData,
                "{}: rows {} to {} of {} cannot be read ({}). The file is damaged: import or "
                "download it again.",
                file_,
                first,
                first + count - 1,
                name_,
                library_says());
  }
}

struct Hdf5Reader::Attribute {
  Hdf5Id id, type;
  uint64_t count = 0;
  size_t element_bytes = 0;
};

Hdf5Reader::Hdf5Reader(const std::string& path) : path_(path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || access(path.c_str(), R_OK) != 0) {
    throw_error(
        ExitCode::kInputOutput, "cannot read the data file {}: {}", path, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw_error(ExitCode::kInputOutput,
                "the data file {} is not a regular file; give the path of an HDF5 image set",
                path);
  }
  file_bytes_ = static_cast<uint64_t>(status.st_size);
  const Silence silence;
  if (H5Fis_hdf5(path.c_str()) == 0) {
    throw_error(ExitCode::kBadData,
                "{} is not an HDF5 file. Make an image set with `lockstep data import`, `download` "
                "or `synth`.",
                path);
  }
  const Hdf5Id access_properties = file_access();
  file_ = Hdf5Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access_properties.get()), H5Fclose);
  if (file_.valid()) return;
  const std::string reason = library_says();
  if (reason.find("unable to lock file") != std::string::npos) {
    throw_error(ExitCode::kInputOutput,
                "{} cannot be opened because of file locking ({}). Another program may be writing "
                "it, or its file system has no "
                "locks; image sets need none: set HDF5_USE_FILE_LOCKING=FALSE in the environment.",
                path,
                reason);
  }
  throw_error(ExitCode::kBadData,
              "{} cannot be opened ({}). The file is damaged: import or download it again.",
              path,
              reason);
}

void Hdf5Reader::refuse(const std::string& object, const std::string& what) const {
  throw_error(ExitCode::kBadData,
              "{}: {} {}. This is no image set as Lockstep writes it, or it is damaged: import or "
              "download it again.",
              path_,
              object,
              what);
}

void Hdf5Reader::require_hard_link(const std::string& name) const {
  H5L_info_t info{};
  if (H5Lexists(file_.get(), name.c_str(), H5P_DEFAULT) <= 0) refuse(name, "is missing");
  if (H5Lget_info(file_.get(), name.c_str(), &info, H5P_DEFAULT) < 0)
    refuse(name, "has an unreadable link");
  if (info.type == H5L_TYPE_HARD) return;
  refuse(name,
         info.type == H5L_TYPE_SOFT ? "is a soft link, which is not accepted"
         : info.type == H5L_TYPE_EXTERNAL
             ? "is an external link (to another file), which is not accepted"
             : "is a link of an unknown kind, which is not accepted");
}

void Hdf5Reader::require_members(const std::string& group,
                                 std::initializer_list<const char*> names) const {
  const Silence silence;
  const std::string prefix = group == "/" ? "/" : group + "/";
  if (group != "/") require_hard_link(group);
  const Hdf5Id id(H5Gopen2(file_.get(), group.c_str(), H5P_DEFAULT), H5Gclose);
  if (!id.valid()) refuse(group, "is not a readable group");
  for (const char* name : names) require_hard_link(prefix + name);
  H5G_info_t info{};
  if (H5Gget_info(id.get(), &info) < 0) refuse(group, "is not a readable group");
  if (info.nlinks != names.size()) {
    refuse(group, fmt::format("has {} members instead of {}", info.nlinks, names.size()));
  }
}

Hdf5Reader::Attribute Hdf5Reader::open_attribute(const std::string& name,
                                                 uint64_t max_count) const {
  const std::string object = fmt::format("the attribute {}", name);
  if (H5Aexists(file_.get(), name.c_str()) <= 0) refuse(object, "is missing");
  Attribute attribute;
  attribute.id = Hdf5Id(H5Aopen(file_.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute.id.valid()) refuse(object, "cannot be opened");
  attribute.type = Hdf5Id(H5Aget_type(attribute.id.get()), H5Tclose);
  const Hdf5Id space(H5Aget_space(attribute.id.get()), H5Sclose);
  hsize_t count = 1;
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0 || rank > 1 || H5Sget_simple_extent_type(space.get()) == H5S_NULL) {
    refuse(object, fmt::format("has rank {} instead of 0 or 1", rank));
  }
  if (rank == 1) H5Sget_simple_extent_dims(space.get(), &count, nullptr);
  if (count < 1 || count > max_count)
    refuse(object, fmt::format("has {} elements; 1 to {} are accepted", count, max_count));
  attribute.count = count;
  attribute.element_bytes = H5Tget_size(attribute.type.get());
  return attribute;
}

int64_t Hdf5Reader::read_integer(const std::string& name) const {
  const Silence silence;
  const Attribute attribute = open_attribute(name, 1);
  int64_t value = 0;
  if (H5Tequal(attribute.type.get(), H5T_STD_I64LE) <= 0)
    refuse("the attribute " + name, "is no 64-bit integer");
  if (H5Aread(attribute.id.get(), H5T_NATIVE_INT64, &value) < 0)
    refuse("the attribute " + name, "cannot be read");
  return value;
}

std::vector<float> Hdf5Reader::read_floats(const std::string& name, uint64_t max_count) const {
  const Silence silence;
  const Attribute attribute = open_attribute(name, max_count);
  if (H5Tequal(attribute.type.get(), H5T_IEEE_F32LE) <= 0)
    refuse("the attribute " + name, "is not of 32-bit floats");
  std::vector<float> values(attribute.count);
  if (H5Aread(attribute.id.get(), H5T_NATIVE_FLOAT, values.data()) < 0)
    refuse("the attribute " + name, "cannot be read");
  return values;
}

std::vector<std::string> Hdf5Reader::read_strings(const std::string& name,
                                                  uint64_t max_count) const {
  const Silence silence;
  const Attribute attribute = open_attribute(name, max_count);
  const std::string object = "the attribute " + name;
  if (H5Tget_class(attribute.type.get()) != H5T_STRING ||
      H5Tis_variable_str(attribute.type.get()) != 0 || attribute.element_bytes < 1 ||
      attribute.element_bytes > kMaxStringBytes) {
    refuse(object,
           fmt::format("is not of fixed-length strings of at most {} bytes", kMaxStringBytes));
  }
  if (attribute.count * attribute.element_bytes > file_bytes_)
    refuse(object, "claims more bytes than the file has");
  std::vector<char> bytes(attribute.count * attribute.element_bytes);
  if (H5Aread(attribute.id.get(), attribute.type.get(), bytes.data()) < 0)
    refuse(object, "cannot be read");
  std::vector<std::string> values;
  for (uint64_t i = 0; i < attribute.count; ++i) {
    const char* begin = bytes.data() + i * attribute.element_bytes;
    values.emplace_back(begin, strnlen(begin, attribute.element_bytes));
  }
  return values;
}

std::string Hdf5Reader::read_string(const std::string& name) const {
  return read_strings(name, 1).front();
}

Hdf5Dataset Hdf5Reader::open_dataset(const std::string& name,
                                     Hdf5Type type,
                                     int rank,
                                     uint64_t max_chunk_rows,
                                     uint64_t max_row_bytes) const {
  const Silence silence;
  require_hard_link(name);
  Hdf5Dataset dataset;
  dataset.file_ = path_;
  dataset.name_ = name;
  dataset.type_ = type;
  dataset.id_ = Hdf5Id(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.id_.valid())
    refuse(name, fmt::format("is not a readable dataset ({})", library_says()));

  // The layout first: asking a virtual dataset for its shape can open the files that it names.
  const Hdf5Id properties(H5Dget_create_plist(dataset.id_.get()), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties.get());
  if (layout == H5D_VIRTUAL)
    refuse(name, "is a virtual dataset (over other files), which is not accepted");
  if (H5Pget_external_count(properties.get()) != 0)
    refuse(name, "keeps its data in another file, which is not accepted");
  if (layout != H5D_CHUNKED) refuse(name, "is not stored in chunks");

  const Hdf5Id stored(H5Dget_type(dataset.id_.get()), H5Tclose);
  if (H5Tequal(stored.get(), stored_type(type)) <= 0) {
    refuse(name, fmt::format("is not of {} integers (little-endian)", type_name(type)));
  }
  const Hdf5Id space(H5Dget_space(dataset.id_.get()), H5Sclose);
  const int actual_rank = H5Sget_simple_extent_ndims(space.get());
  if (actual_rank != rank)
    refuse(name, fmt::format("has {} dimensions instead of {}", actual_rank, rank));
  std::vector<hsize_t> shape(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr);
  dataset.shape_.assign(shape.begin(), shape.end());

  const uint64_t row_bytes = bounded_product(dataset.shape_, 1, element_bytes(type), max_row_bytes);
  if (row_bytes == 0 || row_bytes > max_row_bytes) {
    refuse(name,
           fmt::format("claims the shape [{}], outside of 1 to {} bytes a row",
                       fmt::join(shape, ", "),
                       max_row_bytes));
  }
  if (bounded_product(dataset.shape_, 0, element_bytes(type), file_bytes_) > file_bytes_) {
    refuse(name,
           fmt::format("claims the shape [{}], more than the file's {} bytes can hold",
                       fmt::join(shape, ", "),
                       file_bytes_));
  }
  check_chunks(dataset, properties.get(), max_chunk_rows, row_bytes);
  return dataset;
}

void Hdf5Reader::check_chunks(const Hdf5Dataset& dataset,
                              int64_t creation_properties,
                              uint64_t max_chunk_rows,
                              uint64_t row_bytes) const {
  const std::string& name = dataset.name_;
  std::vector<hsize_t> chunk(dataset.shape_.size());
  const int rank = static_cast<int>(chunk.size());
  const bool whole_rows = H5Pget_chunk(creation_properties, rank, chunk.data()) == rank &&
                          std::equal(chunk.begin() + 1, chunk.end(), dataset.shape_.begin() + 1);
  if (!whole_rows || chunk[0] < 1 || chunk[0] > max_chunk_rows) {
    refuse(name,
           fmt::format("has chunks of [{}]; 1 to {} whole rows are accepted",
                       fmt::join(chunk, ", "),
                       max_chunk_rows));
  }
  unsigned flags = 0, filter_config = 0;
  size_t num_values = 0;
  if (H5Pget_nfilters(creation_properties) != 1 ||
      H5Pget_filter2(
          creation_properties, 0, &flags, &num_values, nullptr, 0, nullptr, &filter_config) !=
          H5Z_FILTER_FLETCHER32) {
    refuse(name, "has other filters than the fletcher32 checksum, which are not accepted");
  }
  std::vector<hsize_t> offset(chunk.size(), 0);
  for (; offset[0] < dataset.shape_[0]; offset[0] += chunk[0]) {
    hsize_t bytes = 0;
    if (H5Dget_chunk_storage_size(dataset.id_.get(), offset.data(), &bytes) < 0 ||
        bytes != chunk[0] * row_bytes + kChecksumBytes) {
      refuse(name, fmt::format("lacks the chunk at row {}", offset[0]));
    }
  }
}

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
