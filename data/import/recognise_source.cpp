#include "lockstep/data/import/recognise_source.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/git_lfs.h"
#include "lockstep/data/import/cifar_import.h"
#include "lockstep/data/import/folder_entries.h"
#include "lockstep/data/import/idx_import.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 2;  // of data/MNIST/raw below data

struct KindRow {
  SourceKind kind;
  const char* name;
  bool (*holds)(const std::string& folder);
};
constexpr std::array kKinds{KindRow{SourceKind::kCifar, "CIFAR's binary version", &holds_cifar},
                            KindRow{SourceKind::kIdx, "MNIST's files", &holds_idx}};

// Files that people try, by their first bytes.
struct OtherFile {
  std::string_view signature;
  const char* name;
  const char* way_out;
};
constexpr const char* kUnpack = "unpack it and give the folder";
constexpr std::array kOtherFiles{
    OtherFile{"PK\x03\x04", "a zip archive", kUnpack},
    OtherFile{"7z\xbc\xaf", "a 7z archive", kUnpack},
    OtherFile{"Rar!", "a RAR archive", kUnpack},
    OtherFile{"\xfd\x37zXZ", "an xz archive", kUnpack},
    OtherFile{"BZh", "a bzip2 archive", kUnpack},
    OtherFile{"\x28\xb5\x2f\xfd", "a zstd archive", kUnpack},
    OtherFile{"\x89HDF", "an HDF5 file", "if it is an image set, it needs no import"},
    OtherFile{"\x80", "a Python pickle", "CIFAR is read from its binary version"},
    OtherFile{"MATLAB", "a MATLAB file", "CIFAR is read from its binary version"},
    OtherFile{"\x93NUMPY", "a NumPy array", "write its images as pictures, in a folder a class"},
    OtherFile{"PAR1", "a Parquet file", "write its images as pictures, in a folder a class"},
    OtherFile{"\x89PNG", "a single picture", "give the folder that holds the class folders"},
    OtherFile{"\xff\xd8\xff", "a single picture", "give the folder that holds the class folders"},
    OtherFile{std::string_view("\0\0\x08", 3), "one of MNIST's files", "give their folder"}};

void refuse_other_file(const std::string& path) {
  refuse_lfs_pointer_at(path);
  if (path.ends_with("-ubyte.gz"))
    throw_error(ExitCode::kBadData, "{} is one of MNIST's files: give their folder.", path);
  std::array<char, 8> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), bytes.size());
  const std::string_view begin(bytes.data(), static_cast<size_t>(file.gcount()));
  for (const OtherFile& other : kOtherFiles) {
    if (begin.starts_with(other.signature))
      throw_error(ExitCode::kBadData, "{} is {}: {}.", path, other.name, other.way_out);
  }
}

// The folders at most `depth` below for which one of the kinds speaks; not below such a one.
void find_sets(const fs::path& folder, int depth, std::vector<RecognisedSource>& found) {
  for (const KindRow& row : kKinds) {
    if (row.holds(folder.string())) {
      found.push_back({row.kind, row.name, folder.string()});
      return;
    }
  }
  if (depth == 0) return;
  for (const FolderEntry& entry : sorted_entries(folder)) {
    if (entry.type == fs::file_type::directory && reason_to_skip(entry.name).empty())
      find_sets(folder / entry.name, depth - 1, found);
  }
}

// Not the loose ones in `source` itself, nor those in the sets found.
bool holds_folders_of_pictures(const fs::path& source, const std::vector<RecognisedSource>& found) {
  VisitedFolders visited;
  visited.add(source);
  for (const RecognisedSource& set : found) visited.add(set.path);
  const std::vector<FolderEntry> entries = sorted_entries(source);
  return std::any_of(entries.begin(), entries.end(), [&](const FolderEntry& entry) {
    return entry.type == fs::file_type::directory && reason_to_skip(entry.name).empty() &&
           holds_pictures(source / entry.name, visited);
  });
}

// CIFAR in a form that cannot be read, there or in a folder in it.
void refuse_other_cifar_in(const fs::path& source) {
  std::vector<fs::path> folders{source};
  for (const FolderEntry& entry : sorted_entries(source)) {
    if (entry.type == fs::file_type::directory) folders.push_back(source / entry.name);
  }
  for (const fs::path& folder : folders) {
    refuse_other_cifar(folder.string(), [&](const std::string& name) {
      std::error_code error;
      return fs::is_regular_file(folder / name, error);
    });
  }
}

}  // namespace

RecognisedSource recognise_source(const std::string& source) {
  std::error_code error;
  if (!fs::exists(source, error))
    throw_error(ExitCode::kInputOutput, "there is no file or folder {}", source);
  if (!fs::is_directory(source, error)) {
    if (fs::is_regular_file(source, error)) refuse_other_file(source);
    return {SourceKind::kCifar, "an archive", source};
  }
  std::vector<RecognisedSource> found;
  find_sets(source, kMaxDepth, found);
  if (found.size() == 1 && found[0].path == source) return found[0];
  const bool has_pictures = holds_folders_of_pictures(source, found);
  if (found.size() + (has_pictures ? 1 : 0) > 1) {
    throw_error(ExitCode::kBadData,
                "{} holds several data sets ({} and {}): give the folder of the one that is meant.",
                source,
                found[0].path,
                found.size() > 1 ? found[1].path : "folders of pictures");
  }
  if (found.size() == 1) return found[0];
  if (!has_pictures) refuse_other_cifar_in(source);
  return {SourceKind::kPictures, "pictures", source};
}

}  // namespace lockstep
