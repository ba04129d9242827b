#include "lockstep/data/image_set/hdf5_reader.h"

#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/git_lfs.h"
#include "lockstep/data/image_set/hdf5_internal.h"
#include "lockstep/data/image_set/image_file_schema.h"

namespace lockstep {
namespace {

constexpr uint64_t kChecksumBytes = 4;

const char* type_name(Hdf5Type type) {
  return type == Hdf5Type::kUint8   ? "unsigned 8-bit"
         : type == Hdf5Type::kInt32 ? "signed 32-bit"
                                    : "unsigned 64-bit";
}

}  // namespace

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
  refuse_lfs_pointer_at(path);
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
  refuse_unopened(library_says());
}

void Hdf5Reader::refuse_unopened(const std::string& reason) const {
  if (reason.find("unable to lock file") != std::string::npos) {
    throw_error(ExitCode::kInputOutput,
                "{} cannot be opened because of file locking ({}). Another program may be writing "
                "it, or its file system has no "
                "locks; image sets need none: set HDF5_USE_FILE_LOCKING=FALSE in the environment.",
                path_,
                reason);
  }
  // A mark in the file itself, which the one who writes takes away at the end.
  if (reason.find("already open for") != std::string::npos) {
    throw_error(ExitCode::kBadData,
                "{} is marked as open for writing. Another program is writing it: wait until it is "
                "done. Or the one that wrote it crashed: then `h5clear -s '{}'` (of HDF5's tools, "
                "Debian's hdf5-tools) takes the mark away, and `lockstep data info '{}'` tells "
                "whether the file is whole.",
                path_,
                path_,
                path_);
  }
  throw_error(ExitCode::kBadData,
              "{} cannot be opened ({}). The file is damaged: import or download it again.",
              path_,
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
      attribute.element_bytes > static_cast<size_t>(schema::kMaxStringBytes)) {
    refuse(
        object,
        fmt::format("is not of fixed-length strings of at most {} bytes", schema::kMaxStringBytes));
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

Hdf5Dataset Hdf5Reader::open_dataset(const std::string& name, const Expected& expected) const {
  const Silence silence;
  require_hard_link(name);
  Hdf5Dataset dataset;
  dataset.file_ = path_;
  dataset.name_ = name;
  dataset.type_ = expected.type;
  dataset.id_ = Hdf5Id(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.id_.valid())
    refuse(name, fmt::format("is not a readable dataset ({})", library_says()));
  // The layout first: asking a virtual dataset for its shape can open the files that it names.
  const Hdf5Id properties(H5Dget_create_plist(dataset.id_.get()), H5Pclose);
  check_storage(dataset, properties.get());
  const uint64_t row_bytes = check_shape(dataset, expected);
  check_chunks(dataset, properties.get(), expected.max_chunk_rows, row_bytes);
  return dataset;
}

void Hdf5Reader::check_storage(const Hdf5Dataset& dataset, int64_t creation_properties) const {
  const std::string& name = dataset.name_;
  const H5D_layout_t layout = H5Pget_layout(creation_properties);
  if (layout == H5D_VIRTUAL)
    refuse(name, "is a virtual dataset (over other files), which is not accepted");
  if (H5Pget_external_count(creation_properties) != 0)
    refuse(name, "keeps its data in another file, which is not accepted");
  if (layout != H5D_CHUNKED) refuse(name, "is not stored in chunks");
}

uint64_t Hdf5Reader::check_shape(Hdf5Dataset& dataset, const Expected& expected) const {
  const std::string& name = dataset.name_;
  const Hdf5Id stored(H5Dget_type(dataset.id_.get()), H5Tclose);
  if (H5Tequal(stored.get(), stored_type(expected.type)) <= 0) {
    refuse(name, fmt::format("is not of {} integers (little-endian)", type_name(expected.type)));
  }
  const Hdf5Id space(H5Dget_space(dataset.id_.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank != expected.rank)
    refuse(name, fmt::format("has {} dimensions instead of {}", rank, expected.rank));
  std::vector<hsize_t> shape(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr);
  dataset.shape_.assign(shape.begin(), shape.end());

  const uint64_t element = element_bytes(expected.type);
  const uint64_t row_bytes = bounded_product(dataset.shape_, 1, element, expected.max_row_bytes);
  if (row_bytes == 0 || row_bytes > expected.max_row_bytes) {
    refuse(name,
           fmt::format("claims the shape [{}], outside of 1 to {} bytes a row",
                       fmt::join(shape, ", "),
                       expected.max_row_bytes));
  }
  if (bounded_product(dataset.shape_, 0, element, file_bytes_) > file_bytes_) {
    refuse(name,
           fmt::format("claims the shape [{}], more than the file's {} bytes can hold",
                       fmt::join(shape, ", "),
                       file_bytes_));
  }
  return row_bytes;
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

}  // namespace lockstep
