#include "lockstep/data/import/folder_layout.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <set>

#include "lockstep/core/base/error.h"
#include "lockstep/data/import/folder_entries.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

enum Part { kTrainPart, kTestPart, kValidationPart };
constexpr size_t kNumParts = 3;

struct PartWord {
  const char* word;
  Part part;
};
constexpr std::array kPartWords{PartWord{"train", kTrainPart},
                                PartWord{"training", kTrainPart},
                                PartWord{"trainset", kTrainPart},
                                PartWord{"trainingset", kTrainPart},
                                PartWord{"test", kTestPart},
                                PartWord{"testing", kTestPart},
                                PartWord{"testset", kTestPart},
                                PartWord{"testingset", kTestPart},
                                PartWord{"val", kValidationPart},
                                PartWord{"valid", kValidationPart},
                                PartWord{"validation", kValidationPart},
                                PartWord{"valset", kValidationPart},
                                PartWord{"validset", kValidationPart},
                                PartWord{"validationset", kValidationPart}};
// What folders are called that hold the pictures of all classes.
constexpr std::array kContainers{"image", "images", "img", "imgs", "jpegimages"};

// "Seg_train-2" is seg, train.
std::vector<std::string> words_of(const std::string& name) {
  std::vector<std::string> words{""};
  for (const char c : name) {
    if (std::isalpha(static_cast<unsigned char>(c))) {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// By the one word of the name, if there is one, that means a part.
std::optional<Part> part_of(const std::string& name) {
  std::optional<Part> part;
  for (const std::string& word : words_of(name)) {
    for (const PartWord& known : kPartWords) {
      if (word != known.word) continue;
      if (part) return std::nullopt;
      part = known.part;
    }
  }
  return part;
}

// Whether the name means a part and nothing else: "Train" and "training_set", not "steam train".
bool is_part_name(const std::string& name) {
  const std::vector<std::string> words = words_of(name);
  const bool plain = words.size() == 1 || (words.size() == 2 && words[1] == "set");
  return plain && part_of(name).has_value();
}

bool is_container(const std::string& name) {
  const std::vector<std::string> words = words_of(name);
  return words.size() == 1 &&
         std::find(kContainers.begin(), kContainers.end(), words[0]) != kContainers.end();
}

// Names of folders, each with a stroke.
std::string named(std::vector<std::string> names) {
  for (std::string& name : names) name += '/';
  return some_of(names);
}

struct Contents {
  std::vector<std::string> folders;  // with pictures in or below them, by name
  bool has_pictures = false;         // of its own
};

struct Parts {
  std::array<std::vector<std::string>, kNumParts>
      names;                             // by Part; training parts with class folders
  std::vector<std::string> flat_trains;  // named as one, with pictures alone
  std::vector<std::string> others;
};

class Recogniser {
 public:
  explicit Recogniser(const std::string& source) : root_(source) {}

  FolderLayout recognise() {
    std::string folder;
    for (;;) {
      const Contents contents = look_into(folder);
      const Parts parts = sort_into_parts(folder, contents);
      if (are_parts(folder, parts)) {
        take_parts(folder, parts);
        break;
      }
      if (!is_wrapper(folder, contents)) {
        layout_.train = folder;
        break;
      }
      leave_rest_aside(folder, contents.folders);
      folder = below(folder, contents.folders.front());
    }
    check_classes(layout_.train);
    if (layout_.test) check_classes(*layout_.test);
    return std::move(layout_);
  }

 private:
  static std::string below(const std::string& folder, const std::string& name) {
    return (fs::path(folder) / name).string();
  }

  Contents look_into(const std::string& folder) const {
    Contents contents;
    VisitedFolders visited;  // on the way down to the folder: a link back to it leads nowhere
    visited.add(root_);
    fs::path path = root_;
    for (const fs::path& step : fs::path(folder)) visited.add(path /= step);
    for (const FolderEntry& entry : sorted_entries(root_ / folder)) {
      if (!reason_to_skip(entry.name).empty()) continue;
      VisitedFolders of_entry = visited;
      if (entry.type == fs::file_type::directory) {
        if (holds_pictures(root_ / folder / entry.name, of_entry))
          contents.folders.push_back(entry.name);
      } else if (!contents.has_pictures) {
        contents.has_pictures = is_picture(root_ / folder, entry);
      }
    }
    return contents;
  }

  bool holds_class_folders(const std::string& folder) const {
    return !look_into(folder).folders.empty();
  }

  // A single folder with folders of its own: as a class it would be the only one.
  bool is_wrapper(const std::string& folder, const Contents& contents) const {
    return contents.folders.size() == 1 &&
           holds_class_folders(below(folder, contents.folders.front()));
  }

  Parts sort_into_parts(const std::string& folder, const Contents& contents) const {
    Parts parts;
    for (const std::string& name : contents.folders) {
      const auto part = part_of(name);
      const bool flat = part == kTrainPart && !holds_class_folders(below(folder, name));
      (!part ? parts.others : flat ? parts.flat_trains : parts.names[*part]).push_back(name);
    }
    if (!parts.names[kTrainPart].empty())
      parts.others.insert(parts.others.end(), parts.flat_trains.begin(), parts.flat_trains.end());
    return parts;
  }

  // Whether these are a training part and what goes with it, not classes.
  bool are_parts(const std::string& folder, const Parts& parts) const {
    const auto& [trains, tests, validations] = parts.names;
    const bool has_counterpart = !tests.empty() || !validations.empty();
    if (trains.empty()) {
      refuse_parts_without_classes(folder, parts);
      return false;
    }
    if (!has_counterpart && std::none_of(trains.begin(), trains.end(), is_part_name)) return false;
    std::vector<std::string> all;
    for (const auto& names : parts.names) {
      all.insert(all.end(), names.begin(), names.end());
      if (names.size() > 1)
        ambiguous(folder,
                  fmt::format("with {}/ as the part, or with {}/", names[0], names[1]),
                  "Move the one that is not meant elsewhere");
    }
    const bool rivals =
        std::any_of(parts.others.begin(), parts.others.end(), [&](const std::string& name) {
          return holds_class_folders(below(folder, name));
        });
    if (!parts.others.empty() && (rivals || !has_counterpart))
      ambiguous(folder,
                fmt::format("{} as parts of a set, with {} left aside; or all of them as classes",
                            named(all),
                            named(parts.others)),
                "Move what does not belong to the set elsewhere, or give the folder that is meant");
    return true;
  }

  // Where nothing but parts is there, they are no classes: but something is missing.
  void refuse_parts_without_classes(const std::string& folder, const Parts& parts) const {
    std::vector<std::string> all = parts.flat_trains;
    for (const auto& names : parts.names) all.insert(all.end(), names.begin(), names.end());
    if (all.empty() || !parts.others.empty() || !std::all_of(all.begin(), all.end(), is_part_name))
      return;
    if (parts.flat_trains.empty())
      refuse(folder, fmt::format("it holds {}, but no train/", named(all)));
    if (all.size() > parts.flat_trains.size())
      refuse(folder,
             fmt::format("{} hold pictures, but no class folders: nothing says what the pictures "
                         "show. Sort them into train/CLASS and test/CLASS",
                         named(all)));
  }

  void take_parts(const std::string& folder, const Parts& parts) {
    const std::string train = parts.names[kTrainPart].front();
    std::vector<std::string> kept{train};
    layout_.train = unwrapped(below(folder, train), {});
    const Contents training = look_into(layout_.train);
    const std::set<std::string> classes(training.folders.begin(), training.folders.end());
    for (const Part part : {kTestPart, kValidationPart}) {
      if (parts.names[part].empty()) continue;
      const std::string& name = parts.names[part].front();
      kept.push_back(name);
      if (layout_.test) {
        leave_aside(below(folder, name),
                    fmt::format("{}/ is the test part; training holds out a validation part of its "
                                "own",
                                kept[1]));
      } else if (const auto found = test_classes(below(folder, name), classes)) {
        layout_.test = found;
      } else {
        leave_aside(below(folder, name), "its pictures lie in no class folders");
      }
    }
    for (const std::string& name : parts.others) {
      kept.push_back(name);
      leave_aside(below(folder, name), "beside the parts, and in no class folders");
    }
    leave_rest_aside(folder, kept);
  }

  // The folder of a test part's class folders; absent where it has none.
  std::optional<std::string> test_classes(const std::string& part,
                                          const std::set<std::string>& classes) {
    std::string folder = unwrapped(part, classes);
    const std::vector<std::string> found = look_into(folder).folders;
    if (found.empty() || (found.size() == 1 && !classes.contains(found.front())))
      return std::nullopt;
    return folder;
  }

  // Down to the folder within a part that holds its classes.
  std::string unwrapped(std::string folder, const std::set<std::string>& classes) {
    for (;;) {
      const Contents contents = look_into(folder);
      if (!is_wrapper(folder, contents) || classes.contains(contents.folders.front()))
        return folder;
      leave_rest_aside(folder, contents.folders);
      folder = below(folder, contents.folders.front());
    }
  }

  // Refuses class folders that may be something else.
  void check_classes(const std::string& folder) const {
    const std::vector<std::string> classes = look_into(folder).folders;
    if (classes.size() < 2) return;
    const auto container = std::find_if(classes.begin(), classes.end(), is_container);
    if (container != classes.end())
      ambiguous(
          folder,
          fmt::format(
              "{} as classes; or {}/ as the pictures of all classes", named(classes), *container),
          "Give the folder whose folders are the classes, or rename the class");
    std::vector<std::string> shared;
    for (size_t i = 0; i < classes.size(); ++i) {
      const Contents inner = look_into(below(folder, classes[i]));
      if (inner.has_pictures) return;  // a class, and so are the others
      if (i == 0) shared = inner.folders;
      std::erase_if(shared, [&](const std::string& name) {
        return !std::binary_search(inner.folders.begin(), inner.folders.end(), name);
      });
      if (shared.size() < 2) return;
    }
    const bool parts = std::all_of(shared.begin(), shared.end(), is_part_name);
    ambiguous(
        folder,
        fmt::format("{} as the classes, with their pictures in folders of their own; or {} as "
                    "the {}, once in each of them",
                    named(classes),
                    named(shared),
                    parts ? "parts" : "classes"),
        parts ? "Turn it around (train/CLASS, test/CLASS), or move the pictures up into the "
                "classes"
              : "Move the pictures up into the classes that are meant");
  }

  // Everything in `folder` but these.
  void leave_rest_aside(const std::string& folder, const std::vector<std::string>& kept) {
    for (const FolderEntry& entry : sorted_entries(root_ / folder)) {
      if (std::find(kept.begin(), kept.end(), entry.name) != kept.end()) continue;
      const std::string reason = reason_to_skip(entry.name);
      leave_aside(below(folder, entry.name),
                  !reason.empty()                          ? reason
                  : entry.type == fs::file_type::directory ? "holds no pictures"
                                                           : "not in the folder of a class");
    }
  }
  void leave_aside(const std::string& path, const std::string& reason) {
    layout_.left_aside.push_back(printable(fmt::format("{} ({})", path, reason)));
  }

  [[noreturn]] void ambiguous(const std::string& folder,
                              const std::string& readings,
                              const std::string& fix) const {
    refuse(folder, fmt::format("it can be read in two ways: {}. {}", printable(readings), fix));
  }
  [[noreturn]] void refuse(const std::string& folder, const std::string& what) const {
    const fs::path path = folder.empty() ? root_ : root_ / folder;
    throw_error(ExitCode::kBadData, "{}: {}.", printable(path.string()), what);
  }

  fs::path root_;
  FolderLayout layout_;
};

}  // namespace

FolderLayout recognise_layout(const std::string& source) { return Recogniser(source).recognise(); }

}  // namespace lockstep
