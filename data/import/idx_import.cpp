#include "lockstep/data/import/idx_import.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/git_lfs.h"
#include "lockstep/core/base/text.h"
#include "lockstep/data/image_set/image_file_writer.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kImagesMagic = 0x0803,
                   kLabelsMagic = 0x0801;  // unsigned bytes, 3 or 1 dimensions
constexpr int64_t kNumClasses = 10;

struct IdxNames {
  Split split;
  const char* images;
  const char* labels;
};
constexpr std::array kIdxNames{IdxNames{Split::kTrain, "train-images", "train-labels"},
                               IdxNames{Split::kTest, "t10k-images", "t10k-labels"}};

// The path of the file under any of its usual names; empty: there is none.
std::string find_file(const fs::path& folder, const std::string& stem) {
  const std::string kind = stem.ends_with("images") ? "idx3-ubyte" : "idx1-ubyte";
  for (const char* separator : {"-", "."}) {
    for (const char* suffix : {"", ".gz"}) {
      const fs::path path = folder / fmt::format("{}{}{}{}", stem, separator, kind, suffix);
      std::error_code error;
      if (fs::is_regular_file(path, error)) return path.string();
    }
  }
  return "";
}

// One IDX file, gzipped or not, read from front to back.
class IdxFile {
 public:
  IdxFile(const std::string& path, uint32_t magic)
      : path_(path), file_(gzopen(path.c_str(), "rb"), &gzclose_r) {
    if (!file_) throw_error(ExitCode::kInputOutput, "cannot read {}", path);
    refuse_lfs_pointer_at(path);
    if (const uint32_t found = read_number(); found != magic) {
      refuse(fmt::format("it begins with {:#010x} instead of {:#010x}", found, magic));
    }
    count_ = read_number();
  }
  int64_t count() const { return count_; }
  const std::string& path() const { return path_; }

  uint32_t read_number() {
    std::array<uint8_t, 4> bytes{};
    read(bytes);
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
  }
  void read(std::span<uint8_t> out) {
    const int got = gzread(file_.get(), out.data(), static_cast<unsigned>(out.size()));
    check_stream(got);
    if (got != static_cast<int>(out.size())) refuse("it is cut off, or its header claims too much");
  }
  void expect_end() {
    uint8_t byte = 0;
    const int got = gzread(file_.get(), &byte, 1);
    check_stream(got);
    if (got != 0) refuse("it goes on after what its header claims");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw_error(ExitCode::kBadData,
                "{}: {}. It is damaged or no file of MNIST's format: download it again.",
                path_,
                what);
  }

 private:
  void check_stream(int got) {
    int code = Z_OK;
    const char* reason = gzerror(file_.get(), &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
      refuse(fmt::format("the gzip stream is damaged or cut off ({})", reason));
  }

  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
  int64_t count_ = 0;
};

struct IdxSplit {
  Split split;
  IdxFile images, labels;
  int64_t side;
};

IdxSplit open_split(const fs::path& folder, const IdxNames& names) {
  const auto path = [&](const char* stem) {
    const std::string found = find_file(folder, stem);
    if (found.empty()) {
      throw_error(ExitCode::kBadData,
                  "{} lacks {}-idx{}-ubyte (or .gz): all four files are needed",
                  folder.string(),
                  stem,
                  std::string(stem).ends_with("images") ? 3 : 1);
    }
    return found;
  };
  IdxSplit split{names.split,
                 IdxFile(path(names.images), kImagesMagic),
                 IdxFile(path(names.labels), kLabelsMagic),
                 0};
  const int64_t height = split.images.read_number(), width = split.images.read_number();
  if (height != width || height < kMinImportSize || height > kMaxImportSize) {
    split.images.refuse(
        fmt::format("images of {} x {} pixels, where squares of {} to {} are possible",
                    height,
                    width,
                    kMinImportSize,
                    kMaxImportSize));
  }
  split.side = height;
  if (split.images.count() != split.labels.count()) {
    split.labels.refuse(fmt::format("it claims {} labels, but {} claims {} images",
                                    split.labels.count(),
                                    split.images.path(),
                                    split.images.count()));
  }
  return split;
}

// The images [n, from, from] resized to [n, to, to].
std::vector<uint8_t> resized(const std::vector<uint8_t>& images, int64_t from, int64_t to) {
  std::vector<uint8_t> out;
  for (auto image = images.begin(); image != images.end(); image += from * from) {
    const Picture square = resize_to_square({1, from, from, {image, image + from * from}}, to);
    out.insert(out.end(), square.pixels.begin(), square.pixels.end());
  }
  return out;
}

void append_split(IdxSplit& split, int64_t side, ImageFileWriter& writer) {
  std::vector<uint8_t> pixels, bytes;
  for (int64_t first = 0; first < split.images.count(); first += kImagesPerBlock) {
    const int64_t count = std::min(kImagesPerBlock, split.images.count() - first);
    pixels.resize(static_cast<size_t>(count * split.side * split.side));
    bytes.resize(static_cast<size_t>(count));
    split.images.read(pixels);
    split.labels.read(bytes);
    const auto wrong = std::find_if(
        bytes.begin(), bytes.end(), [](uint8_t label) { return label >= kNumClasses; });
    if (wrong != bytes.end()) {
      split.labels.refuse(fmt::format("image {} has label {}, but there are {} classes (0 to {})",
                                      first + (wrong - bytes.begin()),
                                      *wrong,
                                      kNumClasses,
                                      kNumClasses - 1));
    }
    const std::vector<int32_t> labels(bytes.begin(), bytes.end());
    writer.append(
        split.split, side == split.side ? pixels : resized(pixels, split.side, side), labels);
  }
  split.images.expect_end();
  split.labels.expect_end();
}

bool is_fashion(const std::string& folder, const ImportOptions& options) {
  if (!options.class_names.empty()) return options.class_names == "fashion";
  // The folder's name, or that of the one around raw/.
  const fs::path path = fs::weakly_canonical(folder);
  const std::string name =
      lower_case(path.parent_path().filename().string() + "/" + path.filename().string());
  const bool fashion = name.find("fashion") != std::string::npos;
  options.tell(fmt::format("classes are named {}; --classes {} names them {}",
                           fashion ? "as Fashion-MNIST's, by the folder's name" : "0 to 9",
                           fashion ? "digits" : "fashion",
                           fashion ? "0 to 9" : "as Fashion-MNIST's"));
  return fashion;
}

}  // namespace

bool holds_idx(const std::string& folder) {
  return std::any_of(kIdxNames.begin(), kIdxNames.end(), [&](const IdxNames& names) {
    return !find_file(folder, names.images).empty() || !find_file(folder, names.labels).empty();
  });
}

void import_idx(const std::string& folder,
                const std::string& output,
                const ImportOptions& options) {
  IdxSplit train = open_split(folder, kIdxNames[0]), test = open_split(folder, kIdxNames[1]);
  if (train.side != test.side) {
    test.images.refuse(fmt::format(
        "images of {} pixels a side, but training images have {}", test.side, train.side));
  }
  const int64_t side = options.size.value_or(train.side);
  const bool fashion = is_fashion(folder, options);
  ImageSetDescription description{.channels = 1, .height = side, .width = side};
  // Fashion-MNIST's (Xiao, Rasul and Vollgraf 2017, table 2).
  description.class_names =
      fashion ? std::vector<std::string>{"T-shirt/top",
                                         "Trouser",
                                         "Pullover",
                                         "Dress",
                                         "Coat",
                                         "Sandal",
                                         "Shirt",
                                         "Sneaker",
                                         "Bag",
                                         "Ankle boot"}
              : std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  const std::string resized_to =
      side == train.side ? "" : fmt::format(", resized to {} x {}", side, side);
  description.source = fmt::format("{}, {} training and {} test images{}",
                                   fashion ? "Fashion-MNIST" : "MNIST (IDX files)",
                                   train.images.count(),
                                   test.images.count(),
                                   resized_to);
  ImageFileWriter writer(output, description);
  append_split(train, side, writer);
  append_split(test, side, writer);
  writer.finish();
}

}  // namespace lockstep
