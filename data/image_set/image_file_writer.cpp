#include "lockstep/data/image_set/image_file_writer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/pending_file.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/image_set/hdf5_writer.h"
#include "lockstep/data/image_set/image_digest.h"

namespace lockstep {
namespace {

void check_description(const ImageSetDescription& d) {
  LOCKSTEP_CHECK(d.channels > 0 && d.channels <= schema::kMaxChannels && d.height > 0 &&
                     d.width > 0 && d.height <= schema::kMaxImageBytes &&
                     d.width <= schema::kMaxImageBytes / d.height / d.channels,
                 "images of {} x {} x {}",
                 d.channels,
                 d.height,
                 d.width);
  if (d.class_names.empty() || d.class_names.size() > static_cast<size_t>(schema::kMaxClasses)) {
    throw_error(ExitCode::kBadData,
                "{} class names given; 1 to {} are possible",
                d.class_names.size(),
                schema::kMaxClasses);
  }
  for (const std::string& name : d.class_names) {
    if (name.empty() || name.size() > static_cast<size_t>(schema::kMaxClassNameBytes) ||
        name.find('\0') != std::string::npos) {
      throw_error(ExitCode::kBadData,
                  "the class name \"{}\" is not of 1 to {} characters",
                  name,
                  schema::kMaxClassNameBytes);
    }
    if (!is_utf8(name)) throw_error(ExitCode::kBadData, "a class name is not UTF-8");
  }
}

std::string dataset(Split split, const char* name) {
  return fmt::format("/{}/{}", to_string(split), name);
}

}  // namespace

struct ImageFileWriter::Handle {
  // Images of one split that wait for a whole block.
  struct Pending {
    std::vector<uint8_t> images;
    std::vector<int32_t> labels;
    std::vector<uint64_t> digests;
    bool created = false;
  };

  void flush_block(Split split);
  void create(Split split, int64_t chunk_images);
  void add_statistics(std::span<const uint8_t> images);
  void write_attributes();

  ImageSetInfo info;
  std::array<Pending, 2> pending;
  std::vector<uint64_t> sums, squares;  // per channel, of the training bytes: exact
  std::optional<PendingFile> whole;
  std::unique_ptr<Hdf5Writer> file;  // goes first: it may write as it ends
};

void ImageFileWriter::Handle::create(Split split, int64_t chunk_images) {
  const std::vector<uint64_t> shape{static_cast<uint64_t>(info.channels),
                                    static_cast<uint64_t>(info.height),
                                    static_cast<uint64_t>(info.width)};
  const auto rows = [](int64_t count, int64_t limit) {
    return static_cast<uint64_t>(std::clamp<int64_t>(count, 1, limit));
  };
  file->create_group(fmt::format("/{}", to_string(split)));
  file->create_dataset(dataset(split, schema::kImages),
                       Hdf5Type::kUint8,
                       shape,
                       rows(chunk_images, schema::kMaxImagesPerChunk));
  file->create_dataset(dataset(split, schema::kLabels),
                       Hdf5Type::kInt32,
                       {},
                       rows(chunk_images, schema::kMaxNumbersPerChunk));
  file->create_dataset(dataset(split, schema::kBlockDigests),
                       Hdf5Type::kUint64,
                       {},
                       rows(chunk_images / kImagesPerBlock, schema::kMaxNumbersPerChunk));
}

void ImageFileWriter::Handle::flush_block(Split split) {
  Pending& block = pending[static_cast<size_t>(split)];
  const auto count = static_cast<int64_t>(block.labels.size());
  if (!block.created) create(split, count);
  block.created = true;
  if (count == 0) return;
  file->append_rows(
      dataset(split, schema::kImages), static_cast<uint64_t>(count), block.images.data());
  file->append_rows(
      dataset(split, schema::kLabels), static_cast<uint64_t>(count), block.labels.data());
  block.digests.push_back(block_digest(block.labels, block.images));
  file->append_rows(dataset(split, schema::kBlockDigests), 1, &block.digests.back());
  info.num_images[static_cast<size_t>(split)] += count;
  if (split == Split::kTrain) add_statistics(block.images);
  block.images.clear();
  block.labels.clear();
}

void ImageFileWriter::Handle::add_statistics(std::span<const uint8_t> images) {
  const auto plane = static_cast<size_t>(info.height * info.width);
  const auto channels = static_cast<size_t>(info.channels);
  for (size_t begin = 0, p = 0; begin < images.size(); begin += plane, ++p) {
    uint64_t sum = 0, square = 0;
    for (const uint8_t value : images.subspan(begin, plane)) {
      sum += value;
      square += uint64_t{value} * value;
    }
    sums[p % channels] += sum;
    squares[p % channels] += square;
  }
}

void ImageFileWriter::Handle::write_attributes() {
  const auto count = static_cast<double>(info.num_images[0] * info.height * info.width);
  for (size_t c = 0; c < sums.size(); ++c) {
    const double mean = static_cast<double>(sums[c]) / count;
    const double variance = std::max(0.0, static_cast<double>(squares[c]) / count - mean * mean);
    info.mean.push_back(static_cast<float>(mean / 255));
    // A channel of one value only must not make normalisation divide by zero.
    info.std.push_back(static_cast<float>(std::max(1.0, std::sqrt(variance)) / 255));
  }
  info.digest = image_set_digest(info, {pending[0].digests, pending[1].digests});
  file->write_integer(schema::kFormatVersionAttribute, schema::kFormatVersion);
  file->write_string(schema::kLayoutAttribute, schema::kLayout);
  file->write_strings(schema::kClassNamesAttribute, info.class_names);
  file->write_floats(schema::kMeanAttribute, info.mean);
  file->write_floats(schema::kStdAttribute, info.std);
  file->write_string(schema::kSourceAttribute, info.source);
  file->write_string(schema::kDigestAttribute, info.digest);
}

ImageFileWriter::ImageFileWriter(const std::string& path, const ImageSetDescription& description)
    : handle_(std::make_unique<Handle>()) {
  check_description(description);
  Handle& handle = *handle_;
  handle.info.path = path;
  handle.info.channels = description.channels;
  handle.info.height = description.height;
  handle.info.width = description.width;
  handle.info.class_names = description.class_names;
  set_source(description.source);
  handle.sums.assign(static_cast<size_t>(description.channels), 0);
  handle.squares = handle.sums;
  handle.whole.emplace(path);
  handle.file = std::make_unique<Hdf5Writer>(handle.whole->temporary());
}

ImageFileWriter::~ImageFileWriter() = default;

void ImageFileWriter::append(Split split,
                             std::span<const uint8_t> images,
                             std::span<const int32_t> labels) {
  Handle& handle = *handle_;
  Handle::Pending& block = handle.pending[static_cast<size_t>(split)];
  const auto image_bytes = static_cast<size_t>(handle.info.image_bytes());
  LOCKSTEP_CHECK(images.size() == labels.size() * image_bytes,
                 "{} bytes for {} images",
                 images.size(),
                 labels.size());
  for (size_t i = 0; i < labels.size();) {
    const size_t room = static_cast<size_t>(kImagesPerBlock) - block.labels.size();
    const size_t count = std::min(room, labels.size() - i);
    for (const int32_t label : labels.subspan(i, count)) {
      if (label < 0 || label >= handle.info.num_classes()) {
        throw_error(ExitCode::kBadData,
                    "{}: a {} image has label {}, but there are {} classes (0 to {})",
                    handle.info.path,
                    to_string(split),
                    label,
                    handle.info.num_classes(),
                    handle.info.num_classes() - 1);
      }
    }
    block.labels.insert(block.labels.end(), labels.begin() + i, labels.begin() + i + count);
    block.images.insert(block.images.end(),
                        images.begin() + i * image_bytes,
                        images.begin() + (i + count) * image_bytes);
    if (count == room) handle.flush_block(split);
    i += count;
  }
}

void ImageFileWriter::set_source(const std::string& source) {
  std::string& kept = handle_->info.source;
  kept = source.substr(0, static_cast<size_t>(schema::kMaxStringBytes));
  // Not cut within a character, which has at most four bytes.
  for (int i = 0; i < 3 && kept.size() < source.size() && !is_utf8(kept); ++i) kept.pop_back();
}

void ImageFileWriter::finish() {
  Handle& handle = *handle_;
  LOCKSTEP_CHECK(handle.file, "finish() called twice");
  for (const Split split : {Split::kTrain, Split::kTest}) {
    const Handle::Pending& block = handle.pending[static_cast<size_t>(split)];
    if (!block.labels.empty() || !block.created) handle.flush_block(split);
  }
  if (handle.info.num_images[0] == 0) {
    throw_error(
        ExitCode::kBadData, "{}: an image set needs at least one training image", handle.info.path);
  }
  handle.write_attributes();
  handle.file->close();
  handle.file.reset();
  handle.whole->commit();
}

}  // namespace lockstep
