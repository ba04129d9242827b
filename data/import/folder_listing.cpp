#include "lockstep/data/import/folder_listing.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/import/folder_entries.h"
#include "lockstep/data/import/folder_layout.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxClasses = 1000;

// Builds the listing of one source.
class Lister {
 public:
  explicit Lister(const std::string& source) : root_(source), layout_(recognise_layout(source)) {}

  PictureFolder list() {
    result_.left_aside = layout_.left_aside;
    result_.has_test_part = layout_.test.has_value();
    const std::vector<std::string> classes = class_folders(layout_.train);
    name_classes(classes);
    std::vector<std::string> test_classes;
    if (layout_.test) test_classes = class_folders(*layout_.test);
    mark_visited(layout_.train, classes);
    mark_visited(layout_.test.value_or(""), test_classes);
    list_part(layout_.train, classes, Split::kTrain);
    if (layout_.test) {
      check_test_classes(*layout_.test, test_classes);
      list_part(*layout_.test, test_classes, Split::kTest);
    }
    tell_what_was_recognised();
    return std::move(result_);
  }

 private:
  // The folders in `folder` that may be classes; whatever else is there is left aside.
  std::vector<std::string> class_folders(const std::string& folder) {
    std::vector<std::string> names;
    for (const FolderEntry& entry : sorted_entries(root_ / folder)) {
      const std::string path = (fs::path(folder) / entry.name).string();
      const std::string reason = reason_to_skip(entry.name);
      if (!reason.empty()) {
        leave_aside(path, reason);
      } else if (entry.type == fs::file_type::directory) {
        names.push_back(entry.name);
      } else {
        has_loose_pictures_ = has_loose_pictures_ || is_picture(root_ / folder, entry);
        leave_aside(path, "not in the folder of a class");
      }
    }
    return names;
  }

  void name_classes(const std::vector<std::string>& names) {
    if (names.empty() && has_loose_pictures_) {
      refuse(
          "it holds pictures, but no class folders: a picture's class is the folder that it lies "
          "in "
          "(class/picture.png)");
    }
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

  void check_test_classes(const std::string& part, const std::vector<std::string>& names) const {
    std::vector<std::string> strange;
    std::set_difference(names.begin(),
                        names.end(),
                        result_.class_names.begin(),
                        result_.class_names.end(),
                        std::back_inserter(strange));
    if (!strange.empty())
      refuse(fmt::format(
          "{}/ holds classes that {}/ lacks: {}", part, layout_.train, some_of(strange)));
  }

  // A link from one class to the folder of another leads nowhere: its pictures have their class.
  void mark_visited(const std::string& part, const std::vector<std::string>& names) {
    visited_.add(root_);
    for (const std::string& name : names) visited_.add(root_ / part / name);
  }

  void list_part(const std::string& part, const std::vector<std::string>& folders, Split split) {
    std::vector<std::string> empty;
    for (const std::string& name : folders) {
      const size_t before = result_.files.size();
      const auto label =
          std::lower_bound(result_.class_names.begin(), result_.class_names.end(), name) -
          result_.class_names.begin();
      const std::string folder = (fs::path(part) / name).string();
      list_class(folder, split, static_cast<int32_t>(label));
      if (result_.files.size() == before) empty.push_back(folder);
    }
    if (!empty.empty()) {
      refuse(fmt::format("{} class folders hold no pictures: {}. Fill or remove them.",
                         empty.size(),
                         some_of(empty)));
    }
  }

  // The pictures in the folder, which is a class's or lies in one, and below it.
  void list_class(const std::string& folder, Split split, int32_t label) {
    for (const FolderEntry& entry : sorted_entries(root_ / folder)) {
      const std::string path = (fs::path(folder) / entry.name).string();
      const std::string reason = reason_to_skip(entry.name);
      if (!reason.empty()) {
        leave_aside(path, reason);
      } else if (entry.type == fs::file_type::directory) {
        if (!visited_.add(root_ / path)) {
          leave_aside(path, "a link to a folder that is read already");
          continue;
        }
        const size_t before = result_.files.size();
        list_class(path, split, label);
        if (result_.files.size() > before) nested_.push_back(path);
      } else if (is_picture(root_ / folder, entry)) {
        result_.files.push_back({path, split, label});
      } else {
        leave_aside(path, "not a picture");
      }
    }
  }

  void tell_what_was_recognised() {
    const auto shown = [&](const std::string& folder) {
      return printable((folder.empty() ? root_ : root_ / folder).string());
    };
    result_.recognised.push_back(fmt::format("{} classes: the folders in {}{}",
                                             result_.class_names.size(),
                                             shown(layout_.train),
                                             layout_.test ? ", for training" : ""));
    if (layout_.test)
      result_.recognised.push_back(
          fmt::format("test pictures: the same classes in {}", shown(*layout_.test)));
    if (!nested_.empty())
      result_.recognised.push_back(fmt::format(
          "pictures in folders within a class count as the class's: {}", some_of(nested_)));
  }

  void leave_aside(const std::string& path, const std::string& reason) {
    result_.left_aside.push_back(printable(fmt::format("{} ({})", path, reason)));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    const fs::path path = layout_.train.empty() ? root_ : root_ / layout_.train;
    throw_error(ExitCode::kBadData, "{}: {}", printable(path.string()), what);
  }

  fs::path root_;
  FolderLayout layout_;
  VisitedFolders visited_;
  bool has_loose_pictures_ = false;
  std::vector<std::string> nested_;  // folders within classes that hold pictures
  PictureFolder result_;
};

}  // namespace

PictureFolder list_picture_folder(const std::string& source) { return Lister(source).list(); }

}  // namespace lockstep
