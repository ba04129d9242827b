#include "lockstep/data/import/folder_layout.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "lockstep/data/import/folder_listing.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

// Empty files: only names count here.
void touch(const TemporaryFolder& folder, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    fs::create_directories(fs::path(folder / path).parent_path());
    std::ofstream(folder / path) << "";
  }
}

// Path -> its part and class, as "train cat".
std::map<std::string, std::string> listed(const PictureFolder& listing) {
  std::map<std::string, std::string> result;
  for (const PictureFile& file : listing.files)
    result[file.path] = fmt::format(
        "{} {}", to_string(file.split), listing.class_names[static_cast<size_t>(file.label)]);
  return result;
}
std::map<std::string, std::string> listed(const TemporaryFolder& folder) {
  return listed(list_picture_folder(folder.path()));
}

using Expected = std::map<std::string, std::string>;

TEST(FolderLayout, GoesDownThroughFoldersThatWrapOthers) {
  const TemporaryFolder folder;
  touch(folder,
        {"pets/pets/train/cat/1.png",
         "pets/pets/train/dog/1.png",
         "pets/pets/test/cat/2.png",
         "pets/pets/test/dog/2.png",
         "pets/README.md",
         "pets/annotations/1.xml",
         "__MACOSX/pets/._1.png",
         "pets.zip"});
  const PictureFolder listing = list_picture_folder(folder.path());
  EXPECT_EQ(listed(listing),
            (Expected{{"pets/pets/train/cat/1.png", "train cat"},
                      {"pets/pets/train/dog/1.png", "train dog"},
                      {"pets/pets/test/cat/2.png", "test cat"},
                      {"pets/pets/test/dog/2.png", "test dog"}}));
  EXPECT_THAT(listing.recognised, Contains(HasSubstr("pets/pets/train")));
  EXPECT_THAT(listing.recognised, Contains(HasSubstr("pets/pets/test")));
  EXPECT_THAT(listing.left_aside,
              ElementsAre(HasSubstr("__MACOSX (made by macOS)"),
                          HasSubstr("pets.zip"),
                          HasSubstr("pets/README.md"),
                          HasSubstr("pets/annotations (holds no pictures)")));
}

TEST(FolderLayout, KnowsThePartsUnderTheirUsualNames) {
  for (const auto& [train, test] : {std::pair{"Train", "Test"},
                                    {"TRAIN", "VAL"},
                                    {"training", "testing"},
                                    {"training_set", "test_set"},
                                    {"Training Set", "Validation Set"},
                                    {"train", "valid"},
                                    {"train2017", "val2017"},
                                    {"seg_train/seg_train", "seg_test/seg_test"},
                                    {"train/images_by_class", "test"}}) {
    const TemporaryFolder folder;
    Expected expected;
    for (const char* name : {"cat", "dog"}) {
      for (const auto& [part, split] : {std::pair{train, "train"}, {test, "test"}}) {
        const std::string path = fmt::format("{}/{}/1.png", part, name);
        touch(folder, {path});
        expected[path] = fmt::format("{} {}", split, name);
      }
    }
    EXPECT_EQ(listed(folder), expected) << train;
  }
}

TEST(FolderLayout, PrefersTheTestPartToTheValidationPart) {
  const TemporaryFolder folder;
  for (const char* part : {"Train", "Test", "Val"})
    touch(folder, {fmt::format("{}/cat/1.png", part), fmt::format("{}/dog/1.png", part)});
  const PictureFolder listing = list_picture_folder(folder.path());
  EXPECT_EQ(listed(listing).at("Test/cat/1.png"), "test cat");
  EXPECT_EQ(listing.files.size(), 4u);
  EXPECT_THAT(listing.left_aside, ElementsAre(HasSubstr("Val (Test/ is the test part")));
}

TEST(FolderLayout, LeavesPartsWithoutClassesAside) {
  const TemporaryFolder folder;  // as Tiny ImageNet is packed
  touch(folder,
        {"tiny/train/n01/images/1.JPEG",
         "tiny/train/n02/images/1.JPEG",
         "tiny/train/n02/boxes.txt",
         "tiny/val/images/1.JPEG",
         "tiny/test/images/1.JPEG",
         "tiny/words.txt"});
  const PictureFolder listing = list_picture_folder(folder.path());
  EXPECT_EQ(listed(listing),
            (Expected{{"tiny/train/n01/images/1.JPEG", "train n01"},
                      {"tiny/train/n02/images/1.JPEG", "train n02"}}));
  EXPECT_FALSE(listing.has_test_part);
  EXPECT_THAT(listing.left_aside, Contains(HasSubstr("tiny/test (its pictures lie in no class")));
  EXPECT_THAT(listing.left_aside, Contains(HasSubstr("tiny/val (its pictures lie in no class")));

  touch(folder, {"intel/seg_train/sea/1.jpg", "intel/seg_train/ice/1.jpg", "intel/seg_pred/1.jpg"});
  touch(folder, {"intel/seg_test/sea/1.jpg", "intel/seg_test/ice/1.jpg"});
  const PictureFolder intel = list_picture_folder(folder / "intel");
  EXPECT_THAT(intel.class_names, ElementsAre("ice", "sea"));
  EXPECT_TRUE(intel.has_test_part);
  EXPECT_THAT(intel.left_aside, ElementsAre(HasSubstr("seg_pred (beside the parts")));
}

TEST(FolderLayout, TakesPicturesFromFoldersWithinAClassAndSaysSo) {
  const TemporaryFolder folder;
  touch(folder,
        {"cat/1.png",
         "cat/2021/2.png",
         "cat/2021/rome/3.png",
         "dog/indoors/1.png",
         "dog/.thumbnails/1.png",
         "dog/@eaDir/1.png",
         "dog/.ipynb_checkpoints/1.png"});
  fs::create_directory_symlink("..", folder / "dog/circle");
  fs::create_directory_symlink("../cat", folder / "dog/friend");
  const PictureFolder listing = list_picture_folder(folder.path());
  EXPECT_EQ(listed(listing),
            (Expected{{"cat/1.png", "train cat"},
                      {"cat/2021/2.png", "train cat"},
                      {"cat/2021/rome/3.png", "train cat"},
                      {"dog/indoors/1.png", "train dog"}}));
  EXPECT_THAT(listing.recognised, Contains(HasSubstr("cat/2021")));
  EXPECT_THAT(listing.recognised, Contains(HasSubstr("dog/indoors")));
  EXPECT_THAT(listing.left_aside,
              ElementsAre(HasSubstr("dog/.ipynb_checkpoints (hidden)"),
                          HasSubstr("dog/.thumbnails (hidden)"),
                          HasSubstr("dog/@eaDir (made by a Synology store)"),
                          HasSubstr("dog/circle (a link to a folder that is read already)"),
                          HasSubstr("dog/friend (a link to a folder that is read already)")));
}

TEST(FolderLayout, IsClassesWherePartNamesAreClassNames) {
  const TemporaryFolder folder;
  touch(folder, {"train/1.png", "ship/1.png", "steam train/old/1.png"});
  EXPECT_THAT(list_picture_folder(folder.path()).class_names,
              ElementsAre("ship", "steam train", "train"));
}

// What is refused, and both readings in the words.
void expect_ambiguous(const std::vector<std::string>& paths,
                      const std::string& one,
                      const std::string& other) {
  const TemporaryFolder folder;
  touch(folder, paths);
  const Error error = error_of([&] { list_picture_folder(folder.path()); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr("two ways"));
  EXPECT_THAT(error.what(), HasSubstr(one));
  EXPECT_THAT(error.what(), HasSubstr(other));
}

TEST(FolderLayout, NamesBothReadingsOfWhatCanBeReadInTwoWays) {
  expect_ambiguous({"day1/cat/1.png", "day1/dog/1.png", "day2/cat/1.png", "day2/dog/1.png"},
                   "day1/, day2/ as the classes",
                   "cat/, dog/ as the classes");
  expect_ambiguous({"cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"},
                   "cat/, dog/ as the classes",
                   "test/, train/ as the parts");
  expect_ambiguous({"train/cat/1.png", "train/dog/1.png", "Train/cat/1.png", "Train/dog/1.png"},
                   "Train/ as the part",
                   "or with train/");
  expect_ambiguous({"x/train/cat/1.png",
                    "x/train/dog/1.png",
                    "x/test/cat/1.png",
                    "x/x/train/cat/1.png",
                    "x/x/train/dog/1.png"},
                   "train/, test/ as parts of a set, with x/ left aside",
                   "all of them as classes");
  expect_ambiguous({"train/cat/1.png", "train/dog/1.png", "ship/1.png"},
                   "train/ as parts of a set, with ship/ left aside",
                   "all of them as classes");
  expect_ambiguous({"images/1.png", "annotations/masks/1.png"},
                   "annotations/, images/ as classes",
                   "images/ as the pictures of all classes");
}

TEST(FolderLayout, SaysWhatIsMissing) {
  const auto words_of = [](const std::vector<std::string>& paths) {
    const TemporaryFolder folder;
    touch(folder, paths);
    return std::string(error_of([&] { list_picture_folder(folder.path()); }).what());
  };
  EXPECT_THAT(words_of({"train/cat.1.png", "test/1.png"}),
              HasSubstr("train/, test/ hold pictures, but no class folders"));
  EXPECT_THAT(words_of({"test/cat/1.png", "val/cat/1.png"}),
              HasSubstr("test/, val/, but no train/"));
  EXPECT_THAT(words_of({"1.png", "2.png"}), HasSubstr("pictures, but no class folders"));
  EXPECT_THAT(words_of({"a/b/c/1.png"}), HasSubstr("one class only (c)"));
  EXPECT_THAT(words_of({"Train/cat/1.png", "Train/dog/1.png", "Test/cow/1.png", "Test/cat/1.png"}),
              HasSubstr("Test/ holds classes that Train/ lacks: cow"));
}

}  // namespace
}  // namespace lockstep
