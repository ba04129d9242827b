#include "lockstep/data/import/cifar_import.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_file_writer.h"
#include "lockstep/data/import/archive.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPixelBytes = size_t{3} * 32 * 32;
constexpr size_t kMaxFileBytes = size_t{256} << 20;

// A record is `label_bytes` labels, of which the last is used (CIFAR-100: coarse, then fine), and
// the red, green and blue planes.
struct CifarLayout {
  const char* name;
  size_t label_bytes;
  size_t images_per_full_file;  // of the first training file
  std::vector<std::string> train_files, test_files;
  std::string names_file;
  int num_classes;
  std::vector<std::string>
      class_names;  // where the names file is missing; empty: the class numbers
};

const std::array<CifarLayout, 2>& cifar_layouts() {
  static const std::array<CifarLayout, 2> layouts{
      CifarLayout{"CIFAR-10",
                  1,
                  10000,
                  {"data_batch_1.bin",
                   "data_batch_2.bin",
                   "data_batch_3.bin",
                   "data_batch_4.bin",
                   "data_batch_5.bin"},
                  {"test_batch.bin"},
                  "batches.meta.txt",
                  10,
                  {"airplane",
                   "automobile",
                   "bird",
                   "cat",
                   "deer",
                   "dog",
                   "frog",
                   "horse",
                   "ship",
                   "truck"}},
      CifarLayout{
          "CIFAR-100", 2, 50000, {"train.bin"}, {"test.bin"}, "fine_label_names.txt", 100, {}}};
  return layouts;
}

// Where files come from, by their names: a folder or an archive.
struct FileSource {
  std::function<std::optional<size_t>(const std::string& name)> size;  // absent: no such file
  std::function<std::string(const std::string& name)> read;
};

std::vector<std::string> all_file_names() {
  std::vector<std::string> names;
  for (const CifarLayout& layout : cifar_layouts()) {
    names.insert(names.end(), layout.train_files.begin(), layout.train_files.end());
    names.insert(names.end(), layout.test_files.begin(), layout.test_files.end());
    names.push_back(layout.names_file);
  }
  return names;
}

FileSource open_source(const std::string& source) {
  if (fs::is_directory(source)) {
    const fs::path folder = source;
    const auto size = [folder](const std::string& name) -> std::optional<size_t> {
      if (!fs::is_regular_file(folder / name)) return std::nullopt;
      return fs::file_size(folder / name);
    };
    return {size, [folder](const std::string& name) {
              return read_file((folder / name).string(), kMaxFileBytes);
            }};
  }
  if (!fs::exists(source))
    throw_error(ExitCode::kInputOutput, "there is no file or folder {}", source);
  const auto members = std::make_shared<const std::map<std::string, std::string>>(
      read_archive_members(source, all_file_names()));
  const auto size = [members](const std::string& name) -> std::optional<size_t> {
    const auto found = members->find(name);
    return found == members->end() ? std::nullopt : std::optional(found->second.size());
  };
  return {size, [members](const std::string& name) { return members->at(name); }};
}

const CifarLayout& recognise(const FileSource& files, const std::string& source) {
  for (const CifarLayout& layout : cifar_layouts()) {
    std::vector<std::string> names = layout.train_files;
    names.insert(names.end(), layout.test_files.begin(), layout.test_files.end());
    std::vector<std::string> missing;
    for (const std::string& name : names) {
      if (!files.size(name)) missing.push_back(name);
    }
    if (missing.empty()) return layout;
    if (missing.size() < names.size()) {
      throw_error(ExitCode::kBadData,
                  "{} looks like the {} binary version, but lacks {}. Unpack or download it again.",
                  source,
                  layout.name,
                  fmt::join(missing, ", "));
    }
  }
  if (!fs::is_directory(source)) {
    const std::set<std::string> held = archive_file_names(source);
    refuse_other_cifar(source, [&](const std::string& name) { return held.contains(name); });
  }
  throw_error(
      ExitCode::kBadData,
      "{} holds neither the CIFAR-10 binary version (data_batch_1.bin to data_batch_5.bin, "
      "test_batch.bin) nor the "
      "CIFAR-100 one (train.bin, test.bin). Give the folder with these files, or their .tar.gz; an "
      "archive of anything else is unpacked first, and its folder given.",
      source);
}

std::vector<std::string> read_class_names(const CifarLayout& layout,
                                          const FileSource& files,
                                          const std::string& source) {
  std::vector<std::string> names;
  if (files.size(layout.names_file)) {
    std::istringstream lines(files.read(layout.names_file));
    for (std::string line; std::getline(lines, line);) {
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (!line.empty()) names.push_back(line);
    }
    if (static_cast<int>(names.size()) != layout.num_classes) {
      throw_error(ExitCode::kBadData,
                  "{}: {} names {} classes instead of {}. Unpack or download it again.",
                  source,
                  layout.names_file,
                  names.size(),
                  layout.num_classes);
    }
    return names;
  }
  if (!layout.class_names.empty()) return layout.class_names;
  for (int i = 0; i < layout.num_classes; ++i) names.push_back(fmt::format("class {}", i));
  return names;
}

void append_records(const CifarLayout& layout,
                    const std::string& name,
                    const std::string& bytes,
                    Split split,
                    ImageFileWriter& writer) {
  const size_t record_bytes = layout.label_bytes + kPixelBytes;
  if (bytes.empty() || bytes.size() % record_bytes != 0) {
    throw_error(
        ExitCode::kBadData,
        "{}: {} bytes expected ({} records of {} bytes, or any whole number of them), found {}. "
        "The file is cut off or not of the {} binary version: unpack or download it again.",
        name,
        layout.images_per_full_file * record_bytes,
        layout.images_per_full_file,
        record_bytes,
        bytes.size(),
        layout.name);
  }
  const size_t count = bytes.size() / record_bytes;
  std::vector<int32_t> labels(count);
  std::vector<uint8_t> pixels(count * kPixelBytes);
  for (size_t i = 0; i < count; ++i) {
    const char* record = bytes.data() + i * record_bytes;
    labels[i] = static_cast<uint8_t>(record[layout.label_bytes - 1]);
    if (labels[i] >= layout.num_classes) {
      throw_error(ExitCode::kBadData,
                  "{}: record {} has label {}, but {} has {} classes. Is this the binary version?",
                  name,
                  i,
                  labels[i],
                  layout.name,
                  layout.num_classes);
    }
    std::copy_n(record + layout.label_bytes, kPixelBytes, pixels.data() + i * kPixelBytes);
  }
  writer.append(split, pixels, labels);
}

size_t count_records(const CifarLayout& layout,
                     const std::vector<std::string>& names,
                     const FileSource& files) {
  size_t bytes = 0;
  for (const std::string& name : names) bytes += files.size(name).value_or(0);
  return bytes / (layout.label_bytes + kPixelBytes);
}

}  // namespace

bool holds_cifar(const std::string& folder) {
  return std::any_of(
      cifar_layouts().begin(), cifar_layouts().end(), [&](const CifarLayout& layout) {
        std::error_code error;
        return fs::is_regular_file(fs::path(folder) / layout.train_files.front(), error) ||
               fs::is_regular_file(fs::path(folder) / layout.test_files.front(), error);
      });
}

void refuse_other_cifar(const std::string& source,
                        const std::function<bool(const std::string& name)>& has) {
  struct Version {
    const char* set;
    const char* language;
    std::array<const char*, 3> files;
  };
  constexpr std::array kVersions{
      Version{"10", "Python", {"data_batch_1", "test_batch", "batches.meta"}},
      Version{"100", "Python", {"train", "test", "meta"}},
      Version{"10", "MATLAB", {"data_batch_1.mat", "test_batch.mat", "batches.meta.mat"}},
      Version{"100", "MATLAB", {"train.mat", "test.mat", "meta.mat"}}};
  for (const Version& version : kVersions) {
    // Of CIFAR-10's names any will do; those of CIFAR-100 say little alone.
    const auto found = std::count_if(version.files.begin(), version.files.end(), has);
    if (found < (version.set == std::string("10") ? 1 : 3)) continue;
    throw_error(ExitCode::kBadData,
                "{} holds CIFAR-{}'s {} version, which is not read{}. Take the binary version, "
                "cifar-{}-binary.tar.gz: `lockstep data download cifar{} OUT.h5` fetches and "
                "imports it.",
                source,
                version.set,
                version.language,
                version.language == std::string("Python")
                    ? " (opening a pickle runs whatever code is in it)"
                    : "",
                version.set,
                version.set);
  }
}

void import_cifar(const std::string& source, const std::string& output) {
  const FileSource files = open_source(source);
  const CifarLayout& layout = recognise(files, source);
  ImageSetDescription description;
  description.class_names = read_class_names(layout, files, source);
  description.source = fmt::format("{} binary version, {} training and {} test images",
                                   layout.name,
                                   count_records(layout, layout.train_files, files),
                                   count_records(layout, layout.test_files, files));
  ImageFileWriter writer(output, description);
  for (const std::string& name : layout.train_files)
    append_records(layout, name, files.read(name), Split::kTrain, writer);
  for (const std::string& name : layout.test_files)
    append_records(layout, name, files.read(name), Split::kTest, writer);
  writer.finish();
}

}  // namespace lockstep
