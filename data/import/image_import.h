// Image sets from what people have: folders of pictures, MNIST's files, CIFAR's files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace lockstep {

constexpr int64_t kMinImportSize = 28, kMaxImportSize = 224;

struct ImportOptions {
  bool overwrite = false;
  // Side of the images, kMinImportSize to kMaxImportSize: for folders of pictures and MNIST's
  // files.
  std::optional<int64_t> size;
  // For folders of pictures (folder_import.h).
  std::optional<int64_t> channels;  // 1 or 3
  std::optional<double>
      test_fraction;  // of each class, where there is no test folder; 0.2 unless set
  uint64_t seed = 1;  // which pictures these are
  bool skip_unreadable = false;
  // For MNIST's files (idx_import.h): "digits" or "fashion"; by the folder's name unless set.
  std::string class_names;

  // Gets lines for a person, and pictures done and in all.
  std::function<void(const std::string&)> tell = [](const std::string&) {};
  std::function<void(int64_t, int64_t)> progress = [](int64_t, int64_t) {};
};

// Writes `output` (image_file.h) from `source`, told by what it holds (recognise_source.h): CIFAR's
// binary version (cifar_import.h), MNIST's files, else class folders with pictures. What was
// recognised where is told. Throws Error(kUsage) for an existing output unless overwrite, and for
// options that the source has no use for; Error(kBadData) and Error(kInputOutput) as those do.
void import_images(const std::string& source,
                   const std::string& output,
                   const ImportOptions& options);

}  // namespace lockstep
