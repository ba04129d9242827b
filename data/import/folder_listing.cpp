#include "lockstep/data/import/folder_listing.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxClasses = 1000;
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
                                 ".avif"};
constexpr std::array kTrainNames{"train"};
constexpr std::array kTestNames{"test", "val", "valid", "validation"};

struct Entry {
  std::string name;
  fs::file_type type;  // of what a link leads to; not_found where it leads nowhere
};

std::vector<Entry> sorted_entries(const fs::path& folder) {
  std::error_code error;
  std::vector<Entry> entries;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    entries.push_back({it->path().filename().string(), it->status(ignored).type()});
  }
  if (error)
    throw_error(ExitCode::kInputOutput,
                "cannot read the folder {}: {}",
                printable(folder.string()),
                error.message());
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.name < b.name;
  });
  return entries;
}

bool has_picture_name(const std::string& name) {
  std::string extension = fs::path(name).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) {
    return std::tolower(c);
  });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

bool begins_as_picture(const fs::path& path) {
  std::array<char, 8> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), bytes.size());
  return is_known_picture(
      {reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<size_t>(file.gcount())});
}

template <typename Names>
bool is_among(const std::string& name, const Names& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// At most kMaxNamed of them, and how many more.
std::string some_of(const std::vector<std::string>& names) {
  const std::span shown = std::span(names).first(std::min(kMaxNamed, names.size()));
  const std::string text = printable(fmt::format("{}", fmt::join(shown, ", ")));
  return names.size() > kMaxNamed ? fmt::format("{} and {} more", text, names.size() - kMaxNamed)
                                  : text;
}

// Builds the listing of one source.
class Lister {
 public:
  explicit Lister(const std::string& source) : root_(source) {}

  PictureFolder list() {
    const std::vector<std::string> folders = class_folders("");
    const std::string test = test_folder_of(folders);
    if (test.empty()) {
      name_classes(folders);
      list_part("", folders, Split::kTrain);
    } else {
      const std::vector<std::string> train_classes = class_folders("train");
      name_classes(train_classes);
      list_part("train", train_classes, Split::kTrain);
      if (test != "train") {
        result_.has_test_part = true;
        const std::vector<std::string> test_classes = class_folders(test);
        check_test_classes(test, test_classes);
        list_part(test, test_classes, Split::kTest);
      }
      for (const std::string& name : folders) {
        if (name != "train" && name != test)
          leave_aside(
              name,
              fmt::format("{}/ is the test part; training holds out a validation part of its own",
                          test));
      }
    }
    return std::move(result_);
  }

 private:
  // The visible folders in `folder`; whatever else is there is left aside.
  std::vector<std::string> class_folders(const std::string& folder) {
    std::vector<std::string> names;
    for (const Entry& entry : sorted_entries(root_ / folder)) {
      const std::string path = (fs::path(folder) / entry.name).string();
      if (entry.name.front() == '.') {
        leave_aside(path, "hidden");
      } else if (entry.type == fs::file_type::directory) {
        names.push_back(entry.name);
      } else {
        leave_aside(path, "not in the folder of a class");
      }
    }
    return names;
  }

  // With parts, the name of the test part ("train" where there is none); empty where the folders
  // are classes.
  std::string test_folder_of(const std::vector<std::string>& folders) const {
    const bool all_parts = !folders.empty() &&
                           std::all_of(folders.begin(), folders.end(), [](const std::string& name) {
                             return is_among(name, kTrainNames) || is_among(name, kTestNames);
                           });
    if (!all_parts) return "";
    const bool holds_folders =
        std::any_of(folders.begin(), folders.end(), [this](const std::string& name) {
          const auto entries = sorted_entries(root_ / name);
          return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
            return entry.type == fs::file_type::directory && entry.name.front() != '.';
          });
        });
    if (!holds_folders) return "";
    if (!is_among("train", folders)) {
      refuse(fmt::format("it holds {}, but no train/", some_of(folders)));
    }
    for (const char* name : kTestNames) {
      if (is_among(name, folders)) return name;
    }
    return "train";
  }

  void name_classes(const std::vector<std::string>& names) {
    if (names.empty()) {
      refuse(
          "it holds no class folders with pictures (class/picture.png, or train/class/picture.png "
          "and test/class/picture.png), nor the files of "
          "CIFAR-10 or CIFAR-100 (data_batch_1.bin …, train.bin) or MNIST (train-images-idx3-ubyte "
          "…)");
    }
    if (names.size() == 1)
      refuse(fmt::format(
          "it holds one class only ({}): with nothing to tell apart, there is nothing to learn",
          printable(names[0])));
    if (names.size() > kMaxClasses)
      refuse(fmt::format("it holds {} class folders; {} are possible", names.size(), kMaxClasses));
    for (const std::string& name : names) {
      if (terminal_word(name) != name)
        refuse(fmt::format(
            "the class folder \"{}\" has a name that is not UTF-8 or holds control characters",
            is_utf8(name) ? printable(name) : "?"));
    }
    result_.class_names = names;
  }

  void check_test_classes(const std::string& test, const std::vector<std::string>& names) {
    std::vector<std::string> strange;
    std::set_difference(names.begin(),
                        names.end(),
                        result_.class_names.begin(),
                        result_.class_names.end(),
                        std::back_inserter(strange));
    if (names.empty()) refuse(fmt::format("{}/ holds no class folders", test));
    if (!strange.empty())
      refuse(fmt::format("{}/ holds classes that train/ lacks: {}", test, some_of(strange)));
  }

  void list_part(const std::string& part, const std::vector<std::string>& folders, Split split) {
    std::vector<std::string> empty;
    for (const std::string& name : folders) {
      const size_t before = result_.files.size();
      const auto label =
          std::lower_bound(result_.class_names.begin(), result_.class_names.end(), name) -
          result_.class_names.begin();
      list_class((fs::path(part) / name).string(), split, static_cast<int32_t>(label));
      if (result_.files.size() == before) empty.push_back((fs::path(part) / name).string());
    }
    if (!empty.empty()) {
      refuse(fmt::format("{} class folders hold no pictures: {}. Fill or remove them.",
                         empty.size(),
                         some_of(empty)));
    }
  }

  void list_class(const std::string& folder, Split split, int32_t label) {
    for (const Entry& entry : sorted_entries(root_ / folder)) {
      const std::string path = (fs::path(folder) / entry.name).string();
      if (entry.name.front() == '.') {
        leave_aside(path, "hidden");
      } else if (entry.type == fs::file_type::directory) {
        leave_aside(path, "a folder within a class");
      } else if (has_picture_name(entry.name) ||
                 (entry.type == fs::file_type::regular && begins_as_picture(root_ / path))) {
        result_.files.push_back({path, split, label});
      } else {
        leave_aside(path, "not a picture");
      }
    }
  }

  void leave_aside(const std::string& path, const std::string& reason) {
    result_.left_aside.push_back(printable(fmt::format("{} ({})", path, reason)));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw_error(ExitCode::kBadData, "{}: {}", printable(root_.string()), what);
  }

  fs::path root_;
  PictureFolder result_;
};

}  // namespace

std::string printable(std::string text) {
  const bool utf8 = is_utf8(text);
  const auto unfit = [utf8](unsigned char c) {
    return c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8);
  };
  std::replace_if(text.begin(), text.end(), unfit, '?');
  return text;
}

PictureFolder list_picture_folder(const std::string& source) { return Lister(source).list(); }

}  // namespace lockstep
