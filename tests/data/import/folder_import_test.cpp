#include "lockstep/data/import/folder_import.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "lockstep/data/import/folder_listing.h"
#include "lockstep/data/pictures/picture.h"
#include "tests/data/small_image_set.h"
#include "tests/data/small_pictures.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using testing::Bytes;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::make_png;
using testing::write_bytes;

// A grey square of one value.
Bytes flat(int side, int value) {
  return make_png({.width = static_cast<uint32_t>(side),
                   .height = static_cast<uint32_t>(side),
                   .rows = Bytes(static_cast<size_t>(side) * side, static_cast<uint8_t>(value))});
}

void write_picture(const std::string& path, const Bytes& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  write_bytes(path, std::string(bytes.begin(), bytes.end()));
}

// Classes a, b, c of 10, 5 and 20 pictures; the value of each picture's pixels is its own.
void write_tree(const std::string& root, int side = 28) {
  int value = 0;
  for (const auto& [name, count] : {std::pair{"b", 5}, {"a", 10}, {"c", 20}}) {
    for (int i = 0; i < count; ++i)
      write_picture(fmt::format("{}/{}/{:02}.png", root, name, i), flat(side, ++value));
  }
}

// Class of each value that write_tree wrote.
int32_t class_of(int value) { return value <= 5 ? 1 : value <= 15 ? 0 : 2; }

// First pixel of each image -> label, of one split.
std::map<int, int32_t> labels_by_value(const std::string& path, Split split) {
  const ImageFile file(path);
  const std::vector<int32_t> labels = file.read_labels(split);
  std::vector<uint8_t> images(labels.size() * static_cast<size_t>(file.info().image_bytes()));
  file.read_images(split, 0, static_cast<int64_t>(labels.size()), images);
  std::map<int, int32_t> result;
  for (size_t i = 0; i < labels.size(); ++i)
    result[images[i * static_cast<size_t>(file.info().image_bytes())]] = labels[i];
  EXPECT_EQ(result.size(), labels.size());
  return result;
}

struct Told {
  std::vector<std::string> lines;
  ImportOptions options() {
    ImportOptions options;
    options.overwrite = true;
    options.tell = [this](const std::string& line) { lines.push_back(line); };
    return options;
  }
};

Error import_error(const TemporaryFolder& folder, ImportOptions options = {}) {
  const Error error = error_of([&] { import_images(folder / "set", folder / "out.h5", options); });
  EXPECT_FALSE(fs::exists(folder / "out.h5"));
  return error;
}

TEST(FolderImport, PutsEveryPictureIntoOnePartUnderItsClass) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  import_images(folder / "set", folder / "out.h5", {});
  const ImageSetInfo info = ImageFile(folder / "out.h5").info();
  EXPECT_THAT(info.class_names, ElementsAre("a", "b", "c"));
  EXPECT_EQ(info.channels, 1);
  EXPECT_EQ(info.height, 28);
  auto all = labels_by_value(folder / "out.h5", Split::kTrain);
  const auto test = labels_by_value(folder / "out.h5", Split::kTest);
  std::array<int, 3> per_class{};
  for (const auto& [value, label] : test) {
    EXPECT_TRUE(all.emplace(value, label).second) << "in both parts: " << value;
    ++per_class[static_cast<size_t>(label)];
  }
  EXPECT_THAT(per_class, ElementsAre(2, 1, 4));  // a fifth of each class
  ASSERT_EQ(all.size(), 35u);
  for (const auto& [value, label] : all) EXPECT_EQ(label, class_of(value));
}

TEST(FolderImport, DrawsTheTestPartByTheSeedAlone) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  const auto test_part = [&](uint64_t seed, double fraction) {
    ImportOptions options{.overwrite = true, .test_fraction = fraction, .seed = seed};
    import_images(folder / "set", folder / "out.h5", options);
    return labels_by_value(folder / "out.h5", Split::kTest);
  };
  EXPECT_EQ(test_part(3, 0.4), test_part(3, 0.4));
  EXPECT_NE(test_part(3, 0.4), test_part(4, 0.4));
  EXPECT_EQ(test_part(3, 0.4).size(), 14u);
  EXPECT_EQ(test_part(3, 0).size(), 0u);
}

TEST(FolderImport, TakesTheTestFolderWhereThereIsOne) {
  for (const std::string name : {"test", "val", "validation"}) {
    const TemporaryFolder folder;
    for (const std::string& part : {std::string("train"), name}) {
      write_picture(folder / "set/" + part + "/cat/1.png", flat(32, part == "train" ? 10 : 20));
      write_picture(folder / "set/" + part + "/dog/1.png", flat(32, part == "train" ? 30 : 40));
    }
    import_images(folder / "set", folder / "out.h5", {});
    EXPECT_EQ(labels_by_value(folder / "out.h5", Split::kTrain),
              (std::map<int, int32_t>{{10, 0}, {30, 1}}));
    EXPECT_EQ(labels_by_value(folder / "out.h5", Split::kTest),
              (std::map<int, int32_t>{{20, 0}, {40, 1}}));
    EXPECT_EQ(error_of([&] {
                import_images(folder / "set", folder / "x.h5", {.test_fraction = 0.1});
              }).code(),
              ExitCode::kUsage);
    write_picture(folder / "set/" + name + "/ant/1.png", flat(32, 1));
    EXPECT_THAT(error_of([&] { import_images(folder / "set", folder / "x.h5", {}); }).what(),
                HasSubstr("classes that train/ lacks: ant"));
  }
  const TemporaryFolder folder;  // train/ alone is divided; beside other folders it is a class
  write_tree(folder / "set/train");
  import_images(folder / "set", folder / "out.h5", {});
  EXPECT_EQ(ImageFile(folder / "out.h5").info().count(Split::kTest), 7);
  write_picture(folder / "vehicles/train/1.png", flat(32, 1));
  write_picture(folder / "vehicles/ship/1.png", flat(32, 2));
  import_images(folder / "vehicles", folder / "v.h5", {});
  EXPECT_THAT(ImageFile(folder / "v.h5").info().class_names, ElementsAre("ship", "train"));
}

TEST(FolderImport, ChoosesSizeAndChannelsByThePictures) {
  const TemporaryFolder folder;
  Told told;
  write_tree(folder / "set", 40);
  import_images(folder / "set", folder / "out.h5", told.options());
  EXPECT_EQ(ImageFile(folder / "out.h5").info().height, 40);
  EXPECT_THAT(told.lines, Contains(HasSubstr("all pictures are grey")));

  const Bytes red = make_png({.width = 64, .height = 48, .colour_type = 2, .rows = [] {
                                Bytes rows;
                                for (int i = 0; i < 64 * 48; ++i)
                                  rows.insert(rows.end(), {200, 0, 0});
                                return rows;
                              }()});
  write_picture(folder / "set/a/red.PNG", red);
  import_images(folder / "set", folder / "out.h5", told.options());
  EXPECT_EQ(ImageFile(folder / "out.h5").info().height, 32);
  EXPECT_EQ(ImageFile(folder / "out.h5").info().channels, 3);
  EXPECT_THAT(told.lines, Contains(HasSubstr("40 to 64 pixels long: resized to 32 x 32")));

  ImportOptions options = told.options();
  options.size = 224;
  options.channels = 1;
  import_images(folder / "set", folder / "out.h5", options);
  EXPECT_EQ(ImageFile(folder / "out.h5").info().image_bytes(), 224 * 224);
  options.size = 225;
  EXPECT_EQ(error_of([&] { import_images(folder / "set", folder / "out.h5", options); }).code(),
            ExitCode::kUsage);
}

TEST(FolderImport, ListsUnreadablePicturesAndWritesNothingUnlessToldTo) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  Bytes cut = flat(28, 9);
  cut.resize(40);
  write_picture(folder / "set/a/03.png", cut);
  write_picture(folder / "set/b/gif.gif", {'G', 'I', 'F', '8', '9', 'a'});
  write_picture(folder / "set/c/empty.jpg", {});
  fs::create_symlink("nowhere.png", folder / "set/c/gone.jpeg");
  fs::create_symlink("itself", folder / "set/itself");  // left aside
  Told told;
  const Error error = import_error(folder, told.options());
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr("4 of 38 pictures cannot be read"));
  EXPECT_THAT(error.what(), HasSubstr("--skip-unreadable"));
  for (const char* words : {"a/03.png: the PNG is cut off",
                            "b/gif.gif: a GIF",
                            "c/empty.jpg: the file is empty",
                            "c/gone.jpeg: there is no such file"})
    EXPECT_THAT(told.lines, Contains(HasSubstr(words)));

  ImportOptions options = told.options();
  options.skip_unreadable = true;
  import_images(folder / "set", folder / "out.h5", options);
  const ImageSetInfo info = ImageFile(folder / "out.h5").info();
  EXPECT_EQ(info.count(Split::kTrain) + info.count(Split::kTest), 34);
  EXPECT_THAT(info.source, HasSubstr("4 unreadable ones left out"));
  EXPECT_THAT(info.source, HasSubstr("gif.gif"));
  EXPECT_THAT(told.lines, Contains(HasSubstr("left out 4 unreadable pictures of 38")));
}

TEST(FolderImport, NamesGitLfsPointersAmongThePictures) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  write_bytes(folder / "set/a/03.png",
              "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  Told told;
  EXPECT_EQ(import_error(folder, told.options()).code(), ExitCode::kBadData);
  EXPECT_THAT(told.lines, Contains(HasSubstr("a/03.png: a Git LFS pointer")));
  EXPECT_THAT(told.lines, Contains(HasSubstr("git lfs pull")));
}

TEST(FolderImport, TellsHowItReadTheFolder) {
  const TemporaryFolder folder;
  write_tree(folder / "set/Training");
  write_tree(folder / "set/Testing");
  Told told;
  import_images(folder / "set", folder / "out.h5", told.options());
  EXPECT_EQ(ImageFile(folder / "out.h5").info().num_images, (std::array<int64_t, 2>{35, 35}));
  EXPECT_THAT(told.lines, Contains(HasSubstr("3 classes: the folders in")));
  EXPECT_THAT(told.lines, Contains(HasSubstr("set/Training")));
  EXPECT_THAT(told.lines, Contains(HasSubstr("set/Testing")));
}

TEST(FolderImport, TellsWhatItLeavesAside) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  write_bytes(folder / "set/notes.txt", "n");
  write_bytes(folder / "set/a/labels.csv", "n");
  write_bytes(folder / "set/a/.DS_Store", "n");
  fs::create_directories(folder / "set/.git");
  fs::create_directory_symlink("..", folder / "set/b/circle");
  write_picture(folder / "set/c/picture_without_extension", flat(28, 99));
  const PictureFolder listing = list_picture_folder(folder / "set");
  EXPECT_EQ(listing.files.size(), 36u);
  EXPECT_THAT(listing.left_aside,
              ElementsAre(HasSubstr(".git (hidden)"),
                          HasSubstr("notes.txt (not in the folder"),
                          HasSubstr("a/.DS_Store (hidden)"),
                          HasSubstr("a/labels.csv (not a picture)"),
                          HasSubstr("b/circle (a link to a folder that is read")));
}

TEST(FolderImport, RefusesSetsThatCannotBeLearnt) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "set");
  EXPECT_THAT(import_error(folder).what(), HasSubstr("no class folders"));
  write_picture(folder / "set/only/1.png", flat(28, 1));
  EXPECT_THAT(import_error(folder).what(), HasSubstr("one class only (only)"));
  fs::create_directories(folder / "set/void");
  fs::create_directories(folder / "set/null");
  write_bytes(folder / "set/null/a.txt", "n");
  const Error empty = import_error(folder);
  EXPECT_EQ(empty.code(), ExitCode::kBadData);
  EXPECT_THAT(empty.what(), HasSubstr("2 class folders hold no pictures: null, void"));
  fs::remove_all(folder / "set/void");
  write_picture(folder / "set/null/a.png", {'x'});
  EXPECT_THAT(import_error(folder, {.skip_unreadable = true}).what(),
              HasSubstr("left without a training picture: null"));
  fs::rename(folder / "set/null", folder / "set/a\nb");
  EXPECT_THAT(import_error(folder).what(), HasSubstr("a?b"));
  for (int i = 0; i < 1000; ++i) fs::create_directories(folder / "set/" + std::to_string(i));
  EXPECT_THAT(import_error(folder).what(), HasSubstr("1002 class folders; 1000 are possible"));
}

TEST(FolderImport, TakesAThousandClasses) {
  const TemporaryFolder folder;
  for (int i = 0; i < 1000; ++i)
    write_picture(fmt::format("{}/{:03}/1.png", folder / "set", i), flat(28, i % 250));
  import_images(folder / "set", folder / "out.h5", {.test_fraction = 0.0});
  const ImageFile file(folder / "out.h5");
  EXPECT_EQ(file.info().num_classes(), 1000);
  EXPECT_EQ(file.read_labels(Split::kTrain).back(), 999);
}

TEST(FolderImport, RefusesOptionsTheSourceHasNoUseFor) {
  const TemporaryFolder folder;
  write_tree(folder / "set");
  EXPECT_EQ(import_error(folder, {.class_names = "fashion"}).code(), ExitCode::kUsage);
  EXPECT_EQ(import_error(folder, {.channels = 2}).code(), ExitCode::kUsage);
  EXPECT_EQ(import_error(folder, {.test_fraction = 1.0}).code(), ExitCode::kUsage);
  EXPECT_EQ(error_of([&] { import_images(folder / "none", folder / "out.h5", {}); }).code(),
            ExitCode::kInputOutput);
}

}  // namespace
}  // namespace lockstep
