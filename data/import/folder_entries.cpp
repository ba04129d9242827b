#include "lockstep/data/import/folder_entries.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <span>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNamed = 10;
// Kinds that cannot be read count as pictures too: they must not vanish from a set unnoticed.
constexpr std::array kExtensions{".png",
                                 ".jpg",
                                 ".jpeg",
                                 ".jpe",
                                 ".jfif",
                                 ".gif",
                                 ".bmp",
                                 ".webp",
                                 ".tif",
                                 ".tiff",
                                 ".heic",
                                 ".heif",
                                 ".avif",
                                 ".jp2",
                                 ".jxl",
                                 ".ppm",
                                 ".pgm",
                                 ".pbm"};

struct ByFolder {
  const char* name;
  const char* reason;
};
constexpr std::array kByFolders{ByFolder{"__MACOSX", "made by macOS"},
                                ByFolder{"__pycache__", "made by Python"},
                                ByFolder{"@eaDir", "made by a Synology store"},
                                ByFolder{"#recycle", "a recycle bin"},
                                ByFolder{"@Recycle", "a recycle bin"},
                                ByFolder{"$RECYCLE.BIN", "a recycle bin"},
                                ByFolder{"System Volume Information", "made by Windows"},
                                ByFolder{"lost+found", "made by the file system"}};

bool has_picture_name(const std::string& name) {
  const std::string extension = lower_case(fs::path(name).extension().string());
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

bool begins_as_picture(const fs::path& path) {
  std::array<char, 8> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), bytes.size());
  return is_known_picture(
      {reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<size_t>(file.gcount())});
}

// In no order, until `visit` says false.
template <typename Visit>
void visit_entries(const fs::path& folder, const Visit& visit) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!visit(FolderEntry{it->path().filename().string(), it->status(ignored).type()})) return;
  }
  if (error)
    throw_error(ExitCode::kInputOutput,
                "cannot read the folder {}: {}",
                printable(folder.string()),
                error.message());
}

}  // namespace

std::vector<FolderEntry> sorted_entries(const fs::path& folder) {
  std::vector<FolderEntry> entries;
  visit_entries(folder, [&](const FolderEntry& entry) {
    entries.push_back(entry);
    return true;
  });
  std::sort(entries.begin(), entries.end(), [](const FolderEntry& a, const FolderEntry& b) {
    return a.name < b.name;
  });
  return entries;
}

std::string reason_to_skip(const std::string& name) {
  if (name.starts_with('.')) return "hidden";
  const auto found = std::find_if(kByFolders.begin(),
                                  kByFolders.end(),
                                  [&](const ByFolder& folder) { return folder.name == name; });
  return found == kByFolders.end() ? "" : found->reason;
}

bool is_picture(const fs::path& folder, const FolderEntry& entry) {
  if (entry.type == fs::file_type::directory) return false;
  return has_picture_name(entry.name) ||
         (entry.type == fs::file_type::regular && begins_as_picture(folder / entry.name));
}

bool VisitedFolders::add(const fs::path& folder) {
  struct stat status {};
  return stat(folder.c_str(), &status) == 0 &&
         folders_.insert({status.st_dev, status.st_ino}).second;
}

bool holds_pictures(const fs::path& folder, VisitedFolders& visited) {
  if (!visited.add(folder)) return false;
  std::vector<fs::path> inner;
  bool found = false;
  visit_entries(folder, [&](const FolderEntry& entry) {
    if (!reason_to_skip(entry.name).empty()) return true;
    if (entry.type == fs::file_type::directory) inner.push_back(folder / entry.name);
    found = is_picture(folder, entry);
    return !found;
  });
  return found || std::any_of(inner.begin(), inner.end(), [&](const fs::path& path) {
           return holds_pictures(path, visited);
         });
}

std::string printable(std::string text) {
  const bool utf8 = is_utf8(text);
  const auto unfit = [utf8](unsigned char c) {
    return c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8);
  };
  std::replace_if(text.begin(), text.end(), unfit, '?');
  return text;
}

std::string some_of(const std::vector<std::string>& names) {
  const std::span shown = std::span(names).first(std::min(kMaxNamed, names.size()));
  const std::string text = printable(fmt::format("{}", fmt::join(shown, ", ")));
  return names.size() > kMaxNamed ? fmt::format("{} and {} more", text, names.size() - kMaxNamed)
                                  : text;
}

}  // namespace lockstep
