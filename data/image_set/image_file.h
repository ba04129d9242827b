// An HDF5 image set on disk (schema: image_file_schema.h), opened with distrust and read in blocks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/image_set/image_file_schema.h"

namespace lockstep {

enum class Split { kTrain, kTest };
const char* to_string(Split split);

using schema::kImagesPerBlock;

struct ImageSetInfo {
  std::string path;
  std::array<int64_t, 2> num_images{};  // by Split
  int64_t channels = 0, height = 0, width = 0;
  std::vector<std::string> class_names;
  std::vector<float> mean, std;  // per channel, in [0, 1]
  std::string source;
  std::string digest;

  int64_t count(Split split) const { return num_images[static_cast<int>(split)]; }
  int64_t image_bytes() const { return channels * height * width; }
  int64_t num_classes() const { return static_cast<int64_t>(class_names.size()); }
  int64_t num_blocks(Split split) const {
    return (count(split) + kImagesPerBlock - 1) / kImagesPerBlock;
  }
};

// Opens and reads such a file. Not thread-safe by itself. Only names, types, ranks and sizes of the
// schema are accepted: links, external storage, virtual datasets and unknown filters are refused.
// Throws Error(kBadData) naming file, object, what is wrong and the fix (import or download it
// again); Error(kInputOutput) when the file is missing or unreadable.
class ImageFile {
 public:
  explicit ImageFile(const std::string& path);
  ~ImageFile();
  ImageFile(ImageFile&&) noexcept;

  const ImageSetInfo& info() const;
  // Images [first, first + count) into `out` (count * image_bytes() bytes, NCHW).
  void read_images(Split split, int64_t first, int64_t count, std::span<uint8_t> out) const;
  // All labels, checked against the number of classes.
  std::vector<int32_t> read_labels(Split split) const;
  // Reads one block (the last may be short) and checks its digest. `labels`: all of the split, as
  // read_labels gave them.
  void read_block(Split split,
                  int64_t block,
                  std::span<const int32_t> labels,
                  std::span<uint8_t> out) const;

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace lockstep
