#include "lockstep/data/image_set/image_file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>

#include "lockstep/data/image_set/image_source.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::small_set_byte;
using testing::small_set_label;
using testing::write_bytes;
using testing::write_small_set;

TEST(ImageFile, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  for (const auto& [train, test] :
       {std::pair<int64_t, int64_t>{1, 0}, {7, 3}, {16, 17}, {1024, 1025}, {2500, 40}}) {
    write_small_set(folder / "set.h5", train, test);
    const ImageFile file(folder / "set.h5");
    EXPECT_EQ(file.info().num_images, (std::array{train, test}));
    EXPECT_EQ(file.info().class_names, (std::vector<std::string>{"ant", "bee", "cow"}));
    EXPECT_EQ(file.info().source, "a test");
    EXPECT_EQ(file.info().channels, 3);
    EXPECT_EQ(file.info().height, 4);
    EXPECT_EQ(file.info().width, 5);
    for (const Split split : {Split::kTrain, Split::kTest}) {
      const int64_t count = file.info().count(split);
      std::vector<uint8_t> images(static_cast<size_t>(count * 60));
      file.read_images(split, 0, count, images);
      const std::vector<int32_t> labels = file.read_labels(split);
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(labels[static_cast<size_t>(i)], small_set_label(i));
        for (int64_t k = 0; k < 60; ++k)
          ASSERT_EQ(images[static_cast<size_t>(i * 60 + k)], small_set_byte(split, i, k));
      }
    }
    EXPECT_NO_THROW(verify_blocks(file, 0, 1));
  }
}

TEST(ImageFile, MeanAndStdAreThoseOfTheTrainingImages) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 1500, 20);
  const ImageFile file(folder / "set.h5");
  for (int64_t channel = 0; channel < 3; ++channel) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 1500; ++i) {
      for (int64_t k = 0; k < 20; ++k)
        sum += small_set_byte(Split::kTrain, i, channel * 20 + k) / 255.0;
    }
    const double mean = sum / (1500 * 20);
    for (int64_t i = 0; i < 1500; ++i) {
      for (int64_t k = 0; k < 20; ++k)
        squares += std::pow(small_set_byte(Split::kTrain, i, channel * 20 + k) / 255.0 - mean, 2);
    }
    EXPECT_NEAR(file.info().mean[static_cast<size_t>(channel)], mean, 1e-6);
    EXPECT_NEAR(
        file.info().std[static_cast<size_t>(channel)], std::sqrt(squares / (1500 * 20)), 1e-6);
  }
}

TEST(ImageFile, DigestDependsOnTheDataAndNotOnTheFile) {
  const TemporaryFolder folder;
  write_small_set(folder / "a.h5", 50, 20);
  write_small_set(folder / "b.h5", 50, 20);
  write_small_set(folder / "c.h5", 50, 21);
  EXPECT_EQ(ImageFile(folder / "a.h5").info().digest, ImageFile(folder / "b.h5").info().digest);
  EXPECT_NE(ImageFile(folder / "a.h5").info().digest, ImageFile(folder / "c.h5").info().digest);
}

TEST(ImageFile, NamesWhatIsNoImageSet) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { ImageFile(folder / "none.h5"); }).code(), ExitCode::kInputOutput);
  EXPECT_EQ(error_of([&] { ImageFile{folder.path()}; }).code(), ExitCode::kInputOutput);
  for (const std::string& bytes : {std::string(),
                                   std::string("<html>not found</html>"),
                                   std::string("\x89HDF\r\n\x1a\n", 8)}) {
    write_bytes(folder / "wrong.h5", bytes);
    const Error error = error_of([&] { ImageFile(folder / "wrong.h5"); });
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr(folder / "wrong.h5"));
  }
}

// How reading all of a file ends in a child process, where a crash of the library is an answer too.
enum class Ending { kSameContents, kOtherContents, kRefused, kCrashed };

Ending read_in_child(const std::string& path, const ImageSetInfo& expected) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    Ending ending = Ending::kOtherContents;
    try {
      const ImageFile file(path);
      verify_blocks(file, 0, 1);
      const ImageSetInfo& info = file.info();
      const bool same = info.digest == expected.digest && info.mean == expected.mean &&
                        info.std == expected.std && info.class_names == expected.class_names &&
                        info.source == expected.source && info.num_images == expected.num_images &&
                        info.channels == expected.channels;
      if (same) ending = Ending::kSameContents;
    } catch (const Error&) {
      ending = Ending::kRefused;
    }
    _exit(static_cast<int>(ending));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? static_cast<Ending>(WEXITSTATUS(status)) : Ending::kCrashed;
}

TEST(ImageFile, NoFlippedBitGoesUnseen) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 40, 9);
  const ImageSetInfo info = ImageFile(folder / "set.h5").info();
  const std::string good = read_bytes(folder / "set.h5");
  size_t refused = 0;
  const size_t stride = std::max<size_t>(1, good.size() / 400);
  for (size_t i = 0; i < good.size(); i += stride) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i / stride % 8)));
    write_bytes(folder / "bad.h5", bad);
    const Ending ending = read_in_child(folder / "bad.h5", info);
    ASSERT_TRUE(ending == Ending::kSameContents || ending == Ending::kRefused)
        << "byte " << i << " of " << good.size() << " ended as " << static_cast<int>(ending);
    refused += ending == Ending::kRefused;
  }
  EXPECT_GT(refused, 100u);
}

TEST(ImageFile, FlippedImagesLabelsAndAttributesAreRefused) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 40, 9);
  const ImageSetInfo info = ImageFile(folder / "set.h5").info();
  const std::string good = read_bytes(folder / "set.h5");
  std::string image, labels;
  for (int64_t k = 0; k < 60; ++k) image += static_cast<char>(small_set_byte(Split::kTrain, 20, k));
  for (int64_t i = 0; i < 40; ++i)
    labels += std::string{static_cast<char>(small_set_label(i)), 0, 0, 0};
  const std::string mean(reinterpret_cast<const char*>(info.mean.data()), 3 * sizeof(float));
  for (const std::string& part :
       {image, labels, mean, std::string("antbeecow"), std::string("a test"), info.digest}) {
    const size_t place = good.find(part);
    ASSERT_NE(place, std::string::npos);
    for (const size_t offset : {size_t{0}, part.size() / 2, part.size() - 1}) {
      std::string bad = good;
      bad[place + offset] = static_cast<char>(bad[place + offset] ^ 1);
      write_bytes(folder / "bad.h5", bad);
      EXPECT_EQ(read_in_child(folder / "bad.h5", info), Ending::kRefused)
          << "offset " << offset << " of " << part.size();
    }
  }
}

TEST(ImageFile, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 40, 9);
  const ImageSetInfo info = ImageFile(folder / "set.h5").info();
  const std::string good = read_bytes(folder / "set.h5");
  for (size_t size = 0; size < good.size(); size += size < 600 ? 37 : good.size() / 97) {
    write_bytes(folder / "bad.h5", good.substr(0, size));
    EXPECT_EQ(read_in_child(folder / "bad.h5", info), Ending::kRefused)
        << size << " of " << good.size() << " bytes";
  }
  write_bytes(folder / "bad.h5", good.substr(0, good.size() - 1));
  EXPECT_EQ(read_in_child(folder / "bad.h5", info), Ending::kRefused);
}

TEST(ImageFileWriter, LeavesNothingBehindWithoutFinish) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 5, 1);
  const std::string before = read_bytes(folder / "set.h5");
  {
    ImageFileWriter writer(folder / "set.h5", {.class_names = {"one"}});
    writer.append(Split::kTrain, std::vector<uint8_t>(3072), std::vector<int32_t>{0});
  }
  EXPECT_EQ(read_bytes(folder / "set.h5"), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(ImageFileWriter, RefusesWhatNoImageSetHolds) {
  const TemporaryFolder folder;
  ImageFileWriter writer(folder / "set.h5", {.class_names = {"one", "two"}});
  for (const int32_t label : {-1, 2}) {
    const Error error = error_of([&] {
      writer.append(Split::kTest, std::vector<uint8_t>(3072), std::vector<int32_t>{label});
    });
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(label)));
  }
  EXPECT_EQ(error_of([&] { writer.finish(); }).code(), ExitCode::kBadData);
  EXPECT_EQ(error_of([&] { ImageFileWriter(folder / "set.h5", {.class_names = {}}); }).code(),
            ExitCode::kBadData);
  EXPECT_EQ(
      error_of([&] { ImageFileWriter("/no/such/folder/set.h5", {.class_names = {"one"}}); }).code(),
      ExitCode::kInputOutput);
}

TEST(ImageFileWriter, KeepsManyLongClassNames) {
  const TemporaryFolder folder;
  ImageSetDescription description;
  for (int i = 0; i < 10000; ++i)
    description.class_names.push_back(std::to_string(i) + std::string(200, 'x'));
  ImageFileWriter writer(folder / "set.h5", description);
  writer.append(Split::kTrain, std::vector<uint8_t>(3072), std::vector<int32_t>{9999});
  writer.finish();
  EXPECT_EQ(ImageFile(folder / "set.h5").info().class_names, description.class_names);
}

TEST(ImageFileWriter, AFileSizeLimitIsAnErrorAndKeepsTheOldFile) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 5, 1);
  const std::string before = read_bytes(folder / "set.h5");
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{8 << 20, 8 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    int code = 0;
    try {
      ImageFileWriter writer(folder / "set.h5", {.class_names = {"one"}});
      for (int i = 0; i < 10; ++i) {
        writer.append(Split::kTrain, std::vector<uint8_t>(1024 * 3072), std::vector<int32_t>(1024));
      }
      writer.finish();
    } catch (const Error& error) {
      code = static_cast<int>(error.code());
    }
    // A normal exit: the library's own clean-up must survive it too.
    std::exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(ExitCode::kInputOutput));
  EXPECT_EQ(read_bytes(folder / "set.h5"), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace lockstep
