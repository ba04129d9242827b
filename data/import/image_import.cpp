#include "lockstep/data/import/image_import.h"

#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/error.h"
#include "lockstep/data/import/cifar_import.h"
#include "lockstep/data/import/folder_import.h"
#include "lockstep/data/import/idx_import.h"
#include "lockstep/data/import/recognise_source.h"

namespace lockstep {
namespace {

void check_options(const ImportOptions& options, SourceKind kind, const std::string& source) {
  const bool pictures = kind == SourceKind::kPictures, idx = kind == SourceKind::kIdx;
  if (options.size && (*options.size < kMinImportSize || *options.size > kMaxImportSize)) {
    throw_error(ExitCode::kUsage,
                "--size is {}: images of {} to {} pixels are possible",
                *options.size,
                kMinImportSize,
                kMaxImportSize);
  }
  if (options.channels && *options.channels != 1 && *options.channels != 3) {
    throw_error(ExitCode::kUsage, "--channels is {}: 1 is grey, 3 is colour", *options.channels);
  }
  if (options.test_fraction && !(*options.test_fraction >= 0 && *options.test_fraction < 1)) {
    throw_error(
        ExitCode::kUsage,
        "--test-fraction is {}: it is the part of each class that is kept for the test. Set "
        "it to at least 0 and less than 1.",
        *options.test_fraction);
  }
  const auto refuse = [&](const char* option, const char* purpose) {
    throw_error(
        ExitCode::kUsage, "{} is for {}, which {} is not: leave it out", option, purpose, source);
  };
  if (!pictures && !idx && options.size) refuse("--size", "folders of pictures and MNIST's files");
  if (!pictures) {
    if (options.channels) refuse("--channels", "folders of pictures");
    if (options.test_fraction) refuse("--test-fraction", "folders of pictures");
    if (options.skip_unreadable) refuse("--skip-unreadable", "folders of pictures");
  }
  if (!idx && !options.class_names.empty()) refuse("--classes", "MNIST's files");
}

}  // namespace

void import_images(const std::string& source,
                   const std::string& output,
                   const ImportOptions& options) {
  const RecognisedSource found = recognise_source(source);
  check_options(options, found.kind, source);
  check_file_destination(output, options.overwrite);
  if (found.path != source)
    options.tell(fmt::format("{}: recognised as {}", found.path, found.name));
  switch (found.kind) {
    case SourceKind::kCifar:
      return import_cifar(found.path, output);
    case SourceKind::kIdx:
      return import_idx(found.path, output, options);
    case SourceKind::kPictures:
      return import_picture_folder(found.path, output, options);
  }
}

}  // namespace lockstep
