#include "lockstep/data/import/folder_import.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_file_writer.h"
#include "lockstep/data/image_set/train_validation_split.h"
#include "lockstep/data/import/folder_entries.h"
#include "lockstep/data/import/folder_listing.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr double kDefaultTestFraction = 0.2;
constexpr int64_t kDefaultSize = 32;
constexpr size_t kMaxTold = 1000;  // unreadable pictures
constexpr size_t kMaxAsideTold = 20;
constexpr size_t kMaxRecorded = 20;

// What the headers of all readable pictures say.
struct Survey {
  int64_t num_read = 0;
  int64_t min_side = 0, max_side = 0;  // over heights and widths
  bool all_grey = true;
};

std::string path_of(const std::string& source, const PictureFile& file) {
  return (fs::path(source) / file.path).string();
}

// Runs `action`; the reason when it is one for which a picture cannot be read, empty otherwise.
template <typename Action>
std::string reason_against(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kBadData && error.code() != ExitCode::kInputOutput) throw;
    return error.what();
  }
  return "";
}

Survey survey(const std::string& source, const std::vector<PictureFile>& files) {
  Survey result;
  for (const PictureFile& file : files) {
    const std::string path = path_of(source, file);
    PictureHeader header;
    // Pictures that cannot be read are told when they are decoded.
    const std::string reason =
        reason_against([&] { header = read_picture_header(read_picture_file(path), path); });
    if (!reason.empty()) continue;
    const auto [low, high] = std::minmax(header.height, header.width);
    result.min_side = result.num_read == 0 ? low : std::min(result.min_side, low);
    result.max_side = std::max(result.max_side, high);
    result.all_grey = result.all_grey && header.channels == 1;
    ++result.num_read;
  }
  return result;
}

struct Target {
  int64_t size = 0, channels = 0;
};

Target choose_target(const std::string& source,
                     const PictureFolder& folder,
                     const ImportOptions& options) {
  if (options.size && options.channels) return {*options.size, *options.channels};
  const Survey seen = survey(source, folder.files);
  if (seen.num_read == 0) return {kDefaultSize, 1};  // nothing will be written
  Target target{options.size.value_or(kDefaultSize),
                options.channels.value_or(seen.all_grey ? 1 : 3)};
  if (!options.size) {
    if (seen.min_side == seen.max_side && seen.min_side >= kMinImportSize &&
        seen.max_side <= kMaxImportSize) {
      target.size = seen.min_side;
    } else {
      options.tell(
          fmt::format("the pictures' sides are {} to {} pixels long: resized to {} x {}; --size N "
                      "chooses another size",
                      seen.min_side,
                      seen.max_side,
                      kDefaultSize,
                      kDefaultSize));
    }
  }
  if (!options.channels && seen.all_grey)
    options.tell("all pictures are grey: 1 channel; --channels 3 makes three");
  return target;
}

void draw_test_part(std::vector<PictureFile>& files, double fraction, uint64_t seed) {
  std::vector<int32_t> labels;
  for (const PictureFile& file : files) labels.push_back(file.label);
  for (const int64_t i : stratified_split(labels, fraction, seed).validation)
    files[static_cast<size_t>(i)].split = Split::kTest;
}

struct ImportCounts {
  std::array<std::vector<int64_t>, 2> per_class;  // by Split
  std::vector<std::string> unreadable;            // each with the reason
  int64_t total(Split split) const {
    int64_t sum = 0;
    for (const int64_t count : per_class[static_cast<size_t>(split)]) sum += count;
    return sum;
  }
};

ImportCounts append_pictures(const std::string& source,
                             const PictureFolder& folder,
                             const Target& target,
                             const ImportOptions& options,
                             ImageFileWriter& writer) {
  ImportCounts counts;
  for (auto& per_class : counts.per_class) per_class.resize(folder.class_names.size());
  const auto total = static_cast<int64_t>(folder.files.size());
  for (int64_t i = 0; i < total; ++i) {
    const PictureFile& file = folder.files[static_cast<size_t>(i)];
    const std::string path = path_of(source, file);
    Picture picture;
    const std::string reason =
        reason_against([&] { picture = load_picture(path, target.channels); });
    if (reason.empty()) {
      const int32_t label = file.label;
      writer.append(
          file.split, resize_to_square(picture, target.size).pixels, std::span(&label, 1));
      ++counts.per_class[static_cast<size_t>(file.split)][static_cast<size_t>(label)];
    } else {
      counts.unreadable.push_back(printable(reason));
    }
    options.progress(i + 1, total);
  }
  return counts;
}

void tell_list(const ImportOptions& options,
               const std::string& title,
               const std::vector<std::string>& lines,
               size_t most) {
  if (lines.empty()) return;
  options.tell(fmt::format("{}:", title));
  for (size_t i = 0; i < std::min(most, lines.size()); ++i)
    options.tell(fmt::format("  {}", lines[i]));
  if (lines.size() > most) options.tell(fmt::format("  … and {} more", lines.size() - most));
}

void check_unreadable(const ImportCounts& counts,
                      const PictureFolder& folder,
                      const std::string& source,
                      const ImportOptions& options) {
  if (counts.unreadable.empty()) return;
  tell_list(options,
            fmt::format(
                "{} of {} pictures cannot be read", counts.unreadable.size(), folder.files.size()),
            counts.unreadable,
            kMaxTold);
  if (!options.skip_unreadable) {
    throw_error(ExitCode::kBadData,
                "{}: {} of {} pictures cannot be read (listed above), and nothing was written. "
                "Mend or remove them, or import the rest "
                "with --skip-unreadable.",
                printable(source),
                counts.unreadable.size(),
                folder.files.size());
  }
  options.tell(fmt::format(
      "left out {} unreadable pictures of {}", counts.unreadable.size(), folder.files.size()));
}

void check_classes(const ImportCounts& counts,
                   const PictureFolder& folder,
                   const std::string& source) {
  std::vector<std::string> empty;
  for (size_t c = 0; c < folder.class_names.size(); ++c) {
    if (counts.per_class[0][c] == 0) empty.push_back(folder.class_names[c]);
  }
  if (!empty.empty()) {
    throw_error(ExitCode::kBadData,
                "{}: {} classes are left without a training picture: {}. Add pictures, or lower "
                "--test-fraction.",
                printable(source),
                empty.size(),
                fmt::join(empty, ", "));
  }
}

// What became of the pictures, for the file's attribute.
std::string describe(const std::string& source,
                     const PictureFolder& folder,
                     const Target& target,
                     const ImportCounts& counts,
                     double fraction,
                     uint64_t seed) {
  const std::string name = printable(fs::weakly_canonical(source).filename().string());
  std::string text =
      fmt::format("pictures of the folder {}, {} training and {} test ones, resized to {} x {}",
                  name,
                  counts.total(Split::kTrain),
                  counts.total(Split::kTest),
                  target.size,
                  target.size);
  if (!folder.has_test_part) text += fmt::format("; test share {} by seed {}", fraction, seed);
  if (counts.unreadable.empty()) return text;
  text += fmt::format("; {} unreadable ones left out", counts.unreadable.size());
  const size_t shown = std::min(kMaxRecorded, counts.unreadable.size());
  text += fmt::format(": {}", fmt::join(std::span(counts.unreadable).first(shown), "; "));
  return shown < counts.unreadable.size() ? text + "; …" : text;
}

}  // namespace

void import_picture_folder(const std::string& source,
                           const std::string& output,
                           const ImportOptions& options) {
  PictureFolder folder = list_picture_folder(source);
  for (const std::string& line : folder.recognised) options.tell(line);
  tell_list(options,
            fmt::format("left aside {} entries that are no pictures of a class",
                        folder.left_aside.size()),
            folder.left_aside,
            kMaxAsideTold);
  const double fraction = options.test_fraction.value_or(kDefaultTestFraction);
  if (folder.has_test_part && options.test_fraction) {
    throw_error(ExitCode::kUsage,
                "--test-fraction is given, but {} has a test folder: leave it out",
                printable(source));
  }
  if (!folder.has_test_part) draw_test_part(folder.files, fraction, options.seed);
  const Target target = choose_target(source, folder, options);
  ImageFileWriter writer(output,
                         {.channels = target.channels,
                          .height = target.size,
                          .width = target.size,
                          .class_names = folder.class_names});
  const ImportCounts counts = append_pictures(source, folder, target, options, writer);
  check_unreadable(counts, folder, source, options);
  check_classes(counts, folder, source);
  if (counts.total(Split::kTest) == 0)
    options.tell("no picture is left for the test part: add pictures, or raise --test-fraction");
  writer.set_source(describe(source, folder, target, counts, fraction, options.seed));
  writer.finish();
}

}  // namespace lockstep
