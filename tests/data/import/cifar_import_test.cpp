#include "lockstep/data/import/cifar_import.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/import/image_import.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using testing::error_of;
using ::testing::HasSubstr;
using testing::write_bytes;

// The colour of pixel (channel, y, x) of an image, different in every coordinate.
uint8_t pixel(int image, int channel, int y, int x) {
  return static_cast<uint8_t>(image * 50 + channel * 80 + y * 2 + x / 16 + x % 2 * 31);
}

// Records as the data set's page describes them: labels, then 1,024 red, 1,024 green and 1,024 blue
// bytes, each row by row.
std::string records(int first_image, const std::vector<std::string>& labels) {
  std::string bytes;
  for (size_t i = 0; i < labels.size(); ++i) {
    bytes += labels[i];
    for (int channel = 0; channel < 3; ++channel) {
      for (int y = 0; y < 32; ++y) {
        for (int x = 0; x < 32; ++x)
          bytes += static_cast<char>(pixel(first_image + static_cast<int>(i), channel, y, x));
      }
    }
  }
  return bytes;
}

std::string label(int value) { return std::string(1, static_cast<char>(value)); }

void write_cifar10(const std::string& folder) {
  fs::create_directories(folder);
  for (int batch = 0; batch < 5; ++batch) {
    write_bytes(folder + "/data_batch_" + std::to_string(batch + 1) + ".bin",
                records(2 * batch, {label(batch), label(9 - batch)}));
  }
  write_bytes(folder + "/test_batch.bin", records(70, {label(7), label(0), label(3)}));
}

void expect_cifar10(const std::string& path) {
  const ImageFile file(path);
  EXPECT_EQ(file.info().num_images, (std::array<int64_t, 2>{10, 3}));
  EXPECT_EQ(file.read_labels(Split::kTrain), (std::vector<int32_t>{0, 9, 1, 8, 2, 7, 3, 6, 4, 5}));
  EXPECT_EQ(file.read_labels(Split::kTest), (std::vector<int32_t>{7, 0, 3}));
  EXPECT_THAT(file.info().class_names.front(), "airplane");
  EXPECT_THAT(file.info().class_names.back(), "truck");
  EXPECT_THAT(file.info().source, HasSubstr("10 training and 3 test images"));
  std::vector<uint8_t> images(10 * 3072);
  file.read_images(Split::kTrain, 0, 10, images);
  for (int image = 0; image < 10; ++image) {
    for (int channel = 0; channel < 3; ++channel) {
      for (int y = 0; y < 32; ++y) {
        for (int x = 0; x < 32; ++x) {
          const size_t place = static_cast<size_t>(((image * 3 + channel) * 32 + y) * 32 + x);
          ASSERT_EQ(images[place], pixel(image, channel, y, x))
              << image << " " << channel << " " << y << " " << x;
        }
      }
    }
  }
}

TEST(CifarImport, KeepsPlanesRowsAndTheOrderOfBatches) {
  const TemporaryFolder folder;
  write_cifar10(folder / "data/cifar-10-batches-bin");
  import_cifar(folder / "data/cifar-10-batches-bin", folder / "a.h5");
  expect_cifar10(folder / "a.h5");
  import_images(folder / "data", folder / "b.h5", {});
  expect_cifar10(folder / "b.h5");
  ASSERT_EQ(std::system(fmt::format("tar -C {} -czf {} cifar-10-batches-bin",
                                    folder / "data",
                                    folder / "c.tar.gz")
                            .c_str()),
            0);
  import_cifar(folder / "c.tar.gz", folder / "c.h5");
  expect_cifar10(folder / "c.h5");
}

TEST(CifarImport, TakesTheFineLabelsOfCifar100) {
  const TemporaryFolder folder;
  write_bytes(folder / "train.bin", records(0, {label(19) + label(11), label(3) + label(99)}));
  write_bytes(folder / "test.bin", records(5, {label(0) + label(42)}));
  import_cifar(folder.path(), folder / "a.h5");
  EXPECT_EQ(ImageFile(folder / "a.h5").read_labels(Split::kTrain), (std::vector<int32_t>{11, 99}));
  EXPECT_EQ(ImageFile(folder / "a.h5").read_labels(Split::kTest), (std::vector<int32_t>{42}));
  EXPECT_EQ(ImageFile(folder / "a.h5").info().num_classes(), 100);
  std::vector<uint8_t> image(3072);
  ImageFile(folder / "a.h5").read_images(Split::kTrain, 1, 1, image);
  EXPECT_EQ(image[1024 + 5 * 32 + 9], pixel(1, 1, 5, 9));

  std::string names;
  for (int i = 0; i < 100; ++i) names += fmt::format("kind {}\n", i);
  write_bytes(folder / "fine_label_names.txt", names);
  import_cifar(folder.path(), folder / "a.h5");
  EXPECT_EQ(ImageFile(folder / "a.h5").info().class_names[42], "kind 42");
  write_bytes(folder / "fine_label_names.txt", "only one\n");
  EXPECT_THAT(error_of([&] { import_cifar(folder.path(), folder / "a.h5"); }).what(),
              HasSubstr("1 classes instead of 100"));
}

TEST(CifarImport, NamesTheFileThatIsWrongAndWhatWasExpected) {
  const TemporaryFolder folder;
  write_cifar10(folder / "set");
  const std::string third = folder / "set/data_batch_3.bin";
  const auto expect_error = [&](const std::string& words) {
    const Error error = error_of([&] { import_cifar(folder / "set", folder / "out.h5"); });
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr(words));
    EXPECT_FALSE(fs::exists(folder / "out.h5"));
  };
  fs::resize_file(third, 6000);
  expect_error("data_batch_3.bin: 30730000 bytes expected");
  expect_error("found 6000");
  write_bytes(third, "");
  expect_error("found 0");
  write_bytes(third, records(0, {label(1), label(10)}));
  expect_error("data_batch_3.bin: record 1 has label 10");
  fs::remove(third);
  expect_error("lacks data_batch_3.bin");
  fs::remove_all(folder / "set");
  fs::create_directory(folder / "set");
  expect_error("neither the CIFAR-10");
  EXPECT_EQ(error_of([&] { import_cifar(folder / "nothing", folder / "out.h5"); }).code(),
            ExitCode::kInputOutput);
}

TEST(CifarImport, NamesWhatElseAnArchiveHolds) {
  const TemporaryFolder folder;
  const auto error_of_archive_with = [&](const std::vector<std::string>& names) {
    fs::remove_all(folder / "set");
    fs::create_directories(folder / "set");
    for (const std::string& name : names) write_bytes(folder / ("set/" + name), "\x80\x02");
    EXPECT_EQ(std::system(
                  fmt::format("tar -C {} -czf {} set", folder.path(), folder / "a.tar.gz").c_str()),
              0);
    return error_of([&] { import_images(folder / "a.tar.gz", folder / "out.h5", {}); });
  };
  EXPECT_THAT(error_of_archive_with({"data_batch_1", "data_batch_2", "test_batch"}).what(),
              HasSubstr("CIFAR-10's Python version"));
  EXPECT_THAT(error_of_archive_with({"train", "test", "meta"}).what(),
              HasSubstr("data download cifar100"));
  EXPECT_THAT(error_of_archive_with({"cat.png"}).what(), HasSubstr("unpacked first"));
}

TEST(CifarImport, ReplacesAFileOnlyWhenTold) {
  const TemporaryFolder folder;
  write_cifar10(folder / "set");
  write_bytes(folder / "out.h5", "precious");
  EXPECT_THAT(error_of([&] { import_images(folder / "set", folder / "out.h5", {}); }).what(),
              HasSubstr("--force"));
  EXPECT_EQ(testing::read_bytes(folder / "out.h5"), "precious");
  import_images(folder / "set", folder / "out.h5", {.overwrite = true});
  expect_cifar10(folder / "out.h5");
}

}  // namespace
}  // namespace lockstep
