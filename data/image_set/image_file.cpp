#include "lockstep/data/image_set/image_file.h"

#include <fmt/ranges.h>

#include <cmath>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/image_set/hdf5_reader.h"
#include "lockstep/data/image_set/image_digest.h"

namespace lockstep {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw_error(ExitCode::kBadData,
              "{}: {}. The file is damaged or foreign: import or download it again.",
              path,
              what);
}

}  // namespace

const char* to_string(Split split) { return split == Split::kTrain ? "train" : "test"; }

struct ImageFile::Handle {
  explicit Handle(const std::string& path) : reader(path) { info.path = path; }

  void read_attributes();
  void open_split(Split split);
  // Counts and image size; test images must be as large as training images.
  void take_shape(Split split);
  void check_statistics(const char* name,
                        const std::vector<float>& values,
                        bool zero_allowed) const;

  Hdf5Reader reader;
  ImageSetInfo info;
  std::array<Hdf5Dataset, 2> images, labels;
  std::array<std::vector<uint64_t>, 2> block_digests;
};

void ImageFile::Handle::check_statistics(const char* name,
                                         const std::vector<float>& values,
                                         bool zero_allowed) const {
  bool valid = static_cast<int64_t>(values.size()) == info.channels;
  for (const float value : values) {
    valid = valid && std::isfinite(value) && value <= 1 && (zero_allowed ? value >= 0 : value > 0);
  }
  if (valid) return;
  refuse(info.path,
         fmt::format("the attribute {} is [{}], not {} numbers within 0 to 1",
                     name,
                     fmt::join(values, ", "),
                     info.channels));
}

void ImageFile::Handle::read_attributes() {
  const int64_t version = reader.read_integer(schema::kFormatVersionAttribute);
  if (version != schema::kFormatVersion) {
    refuse(info.path,
           fmt::format("it has format version {}, but this program reads version {}",
                       version,
                       schema::kFormatVersion));
  }
  const std::string layout = reader.read_string(schema::kLayoutAttribute);
  if (layout != schema::kLayout) {
    refuse(info.path,
           fmt::format("the attribute {} is \"{}\" instead of \"{}\"",
                       schema::kLayoutAttribute,
                       layout,
                       schema::kLayout));
  }
  info.class_names = reader.read_strings(schema::kClassNamesAttribute, schema::kMaxClasses);
  for (const std::string& name : info.class_names) {
    if (name.empty()) refuse(info.path, "a class name is empty");
    if (!is_utf8(name)) refuse(info.path, "a class name is not UTF-8");
  }
  info.source = reader.read_string(schema::kSourceAttribute);
  info.digest = reader.read_string(schema::kDigestAttribute);
  info.mean = reader.read_floats(schema::kMeanAttribute, schema::kMaxChannels);
  info.std = reader.read_floats(schema::kStdAttribute, schema::kMaxChannels);
}

void ImageFile::Handle::open_split(Split split) {
  const size_t s = static_cast<size_t>(split);
  const std::string group = fmt::format("/{}", to_string(split));
  reader.require_members(group, {schema::kImages, schema::kLabels, schema::kBlockDigests});
  const auto open = [&](const char* name, const Hdf5Reader::Expected& expected) {
    return reader.open_dataset(fmt::format("{}/{}", group, name), expected);
  };
  images[s] = open(schema::kImages,
                   {.type = Hdf5Type::kUint8,
                    .rank = 4,
                    .max_chunk_rows = schema::kMaxImagesPerChunk,
                    .max_row_bytes = schema::kMaxImageBytes});
  labels[s] = open(schema::kLabels,
                   {.type = Hdf5Type::kInt32,
                    .rank = 1,
                    .max_chunk_rows = schema::kMaxNumbersPerChunk,
                    .max_row_bytes = sizeof(int32_t)});
  const Hdf5Dataset digests = open(schema::kBlockDigests,
                                   {.type = Hdf5Type::kUint64,
                                    .rank = 1,
                                    .max_chunk_rows = schema::kMaxNumbersPerChunk,
                                    .max_row_bytes = sizeof(uint64_t)});

  take_shape(split);
  const uint64_t num_images = images[s].shape()[0];
  if (labels[s].shape()[0] != num_images) {
    refuse(info.path,
           fmt::format("{} has {} images but {} labels", group, num_images, labels[s].shape()[0]));
  }
  if (static_cast<int64_t>(digests.shape()[0]) != info.num_blocks(split)) {
    refuse(info.path,
           fmt::format("{} has {} block digests instead of {}",
                       group,
                       digests.shape()[0],
                       info.num_blocks(split)));
  }
  block_digests[s].resize(digests.shape()[0]);
  digests.read_rows(0, digests.shape()[0], block_digests[s].data());
}

void ImageFile::Handle::take_shape(Split split) {
  const std::vector<uint64_t>& shape = images[static_cast<size_t>(split)].shape();
  info.num_images[static_cast<size_t>(split)] = static_cast<int64_t>(shape[0]);
  const std::array<int64_t, 3> image_shape{static_cast<int64_t>(shape[1]),
                                           static_cast<int64_t>(shape[2]),
                                           static_cast<int64_t>(shape[3])};
  if (split == Split::kTrain) {
    if (shape[0] == 0) refuse(info.path, "it has no training images");
    info.channels = image_shape[0];
    info.height = image_shape[1];
    info.width = image_shape[2];
  } else if (image_shape != std::array{info.channels, info.height, info.width}) {
    refuse(info.path,
           fmt::format("training images are {}x{}x{}, but test images are {}",
                       info.channels,
                       info.height,
                       info.width,
                       fmt::join(image_shape, "x")));
  }
}

ImageFile::ImageFile(const std::string& path) : handle_(std::make_unique<Handle>(path)) {
  Handle& handle = *handle_;
  handle.reader.require_members("/", {"train", "test"});
  handle.read_attributes();
  handle.open_split(Split::kTrain);
  handle.open_split(Split::kTest);
  handle.check_statistics(schema::kMeanAttribute, handle.info.mean, true);
  handle.check_statistics(schema::kStdAttribute, handle.info.std, false);
  if (const std::string digest = image_set_digest(handle.info, handle.block_digests);
      digest != handle.info.digest) {
    refuse(path,
           fmt::format("its digest is {}, but its contents give {}", handle.info.digest, digest));
  }
}

ImageFile::~ImageFile() = default;
ImageFile::ImageFile(ImageFile&&) noexcept = default;

const ImageSetInfo& ImageFile::info() const { return handle_->info; }

void ImageFile::read_images(Split split,
                            int64_t first,
                            int64_t count,
                            std::span<uint8_t> out) const {
  const ImageSetInfo& info = handle_->info;
  LOCKSTEP_CHECK(first >= 0 && count >= 0 && first <= info.count(split) - count,
                 "images {} + {} of {}",
                 first,
                 count,
                 info.count(split));
  LOCKSTEP_CHECK(static_cast<int64_t>(out.size()) == count * info.image_bytes(),
                 "{} bytes for {} images",
                 out.size(),
                 count);
  handle_->images[static_cast<size_t>(split)].read_rows(
      static_cast<uint64_t>(first), static_cast<uint64_t>(count), out.data());
}

std::vector<int32_t> ImageFile::read_labels(Split split) const {
  const ImageSetInfo& info = handle_->info;
  std::vector<int32_t> labels(static_cast<size_t>(info.count(split)));
  handle_->labels[static_cast<size_t>(split)].read_rows(0, labels.size(), labels.data());
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= info.num_classes()) {
      refuse(info.path,
             fmt::format("/{}/labels: image {} has label {}, but there are {} classes",
                         to_string(split),
                         i,
                         labels[i],
                         info.num_classes()));
    }
  }
  return labels;
}

void ImageFile::read_block(Split split,
                           int64_t block,
                           std::span<const int32_t> labels,
                           std::span<uint8_t> out) const {
  const ImageSetInfo& info = handle_->info;
  LOCKSTEP_CHECK(block >= 0 && block < info.num_blocks(split),
                 "block {} of {}",
                 block,
                 info.num_blocks(split));
  LOCKSTEP_CHECK(static_cast<int64_t>(labels.size()) == info.count(split),
                 "{} labels for {} images",
                 labels.size(),
                 info.count(split));
  const int64_t first = block * kImagesPerBlock;
  const int64_t count = std::min(kImagesPerBlock, info.count(split) - first);
  read_images(split, first, count, out);
  const uint64_t digest =
      block_digest(labels.subspan(static_cast<size_t>(first), static_cast<size_t>(count)), out);
  if (digest != handle_->block_digests[static_cast<size_t>(split)][static_cast<size_t>(block)]) {
    refuse(info.path,
           fmt::format("/{}: images {} to {} (block {}) do not match their digest",
                       to_string(split),
                       first,
                       first + count - 1,
                       block));
  }
}

}  // namespace lockstep
