// What lies in folders of pictures, and what programs leave among it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

struct FolderEntry {
  std::string name;
  std::filesystem::file_type type;  // of what a link leads to; none where it leads nowhere
};

// By name. Throws Error(kInputOutput) for a folder that cannot be read.
std::vector<FolderEntry> sorted_entries(const std::filesystem::path& folder);

// Why nothing of that name belongs to a data set ("hidden", "made by macOS"); empty for all others.
std::string reason_to_skip(const std::string& name);

// A picture is what has the extension of one, in any case, or begins as a PNG or JPEG does; whether
// it can be read is not looked at.
bool is_picture(const std::filesystem::path& folder, const FolderEntry& entry);

// Folders that have been looked into, whatever links led to them: what is looked into once only
// ends even where links go in circles.
class VisitedFolders {
 public:
  // False when it was there before, or cannot be looked at.
  bool add(const std::filesystem::path& folder);

 private:
  std::set<std::pair<dev_t, ino_t>> folders_;
};

// Whether a picture lies in the folder or below it; not in what was visited before.
bool holds_pictures(const std::filesystem::path& folder, VisitedFolders& visited);

// For a line to a terminal: control characters become "?", and so does what is not ASCII in a text
// that is not UTF-8.
std::string printable(std::string text);

// At most ten of them, printable, and how many more.
std::string some_of(const std::vector<std::string>& names);

}  // namespace lockstep
