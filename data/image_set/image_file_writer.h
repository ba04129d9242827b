// Writes an image set file (schema: image_file.h), whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/image_set/image_file.h"

namespace lockstep {

struct ImageSetDescription {
  int64_t channels = 3, height = 32, width = 32;
  std::vector<std::string> class_names;
  std::string source;
};

// Collects images in order and writes `path` through a temporary file, computing mean, std and
// digests; behind a symbolic link, which stays. Throws Error(kBadData) for labels out of range,
// Error(kInputOutput) for what the file system refuses, Error(kUsage) for what is no regular file.
class ImageFileWriter {
 public:
  ImageFileWriter(const std::string& path, const ImageSetDescription& description);
  ~ImageFileWriter();  // without finish(): removes the temporary file
  // images: [labels.size(), C, H, W] bytes.
  void append(Split split, std::span<const uint8_t> images, std::span<const int32_t> labels);
  // Replaces the description's, where it is known only now; kept to 4,096 bytes.
  void set_source(const std::string& source);
  void finish();

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace lockstep
