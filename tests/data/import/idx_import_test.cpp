#include "lockstep/data/import/idx_import.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/pictures/picture.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::write_bytes;

std::string numbers(std::initializer_list<uint32_t> values) {
  std::string bytes;
  for (const uint32_t value : values) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  }
  return bytes;
}

char pixel(int image, int place) { return static_cast<char>(image * 31 + place * 7 + place / 28); }

std::string images(uint32_t count, uint32_t claimed) {
  std::string bytes = numbers({0x803, claimed, 28, 28});
  for (uint32_t i = 0; i < count; ++i) {
    for (int place = 0; place < 28 * 28; ++place) bytes += pixel(static_cast<int>(i), place);
  }
  return bytes;
}

std::string labels(const std::string& values, uint32_t claimed) {
  return numbers({0x801, claimed}) + values;
}

void write_gzip(const std::string& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

const std::string kTestLabels("\3\0", 2);

void write_set(const std::string& folder) {
  fs::create_directories(folder);
  write_bytes(folder + "/train-images-idx3-ubyte", images(3, 3));
  write_bytes(folder + "/train-labels-idx1-ubyte", labels("\7\1\11", 3));
  write_gzip(folder + "/t10k-images-idx3-ubyte.gz", images(2, 2));
  write_gzip(folder + "/t10k-labels-idx1-ubyte.gz", labels(kTestLabels, 2));
}

TEST(IdxImport, KeepsImagesAndLabelsPlainAndGzipped) {
  const TemporaryFolder folder;
  write_set(folder / "mnist/raw");
  for (const std::string source : {"mnist", "mnist/raw"}) {
    import_images(folder / source, folder / "out.h5", {.overwrite = true});
    const ImageFile file(folder / "out.h5");
    EXPECT_EQ(file.info().channels, 1);
    EXPECT_EQ(file.info().height, 28);
    EXPECT_EQ(file.info().class_names[7], "7");
    EXPECT_THAT(file.read_labels(Split::kTrain), ElementsAre(7, 1, 9));
    EXPECT_THAT(file.read_labels(Split::kTest), ElementsAre(3, 0));
    std::vector<uint8_t> pixels(3 * 784);
    file.read_images(Split::kTrain, 0, 3, pixels);
    for (int i = 0; i < 3 * 784; ++i)
      ASSERT_EQ(pixels[static_cast<size_t>(i)], static_cast<uint8_t>(pixel(i / 784, i % 784)));
    file.read_images(Split::kTest, 1, 1, std::span(pixels).first(784));
    EXPECT_EQ(pixels[30], static_cast<uint8_t>(pixel(1, 30)));
  }
}

TEST(IdxImport, NamesClassesByTheFolderOrAsTold) {
  const TemporaryFolder folder;
  write_set(folder / "FashionMNIST/raw");
  import_images(folder / "FashionMNIST/raw", folder / "out.h5", {});
  EXPECT_EQ(ImageFile(folder / "out.h5").info().class_names[9], "Ankle boot");
  import_images(
      folder / "FashionMNIST", folder / "out.h5", {.overwrite = true, .class_names = "digits"});
  EXPECT_EQ(ImageFile(folder / "out.h5").info().class_names[9], "9");
}

TEST(IdxImport, ResizesWhenTold) {
  const TemporaryFolder folder;
  write_set(folder / "set");
  import_images(folder / "set", folder / "out.h5", {.size = 32});
  const ImageFile file(folder / "out.h5");
  Picture second{1, 28, 28, std::vector<uint8_t>(784)};
  for (int place = 0; place < 784; ++place)
    second.pixels[static_cast<size_t>(place)] = static_cast<uint8_t>(pixel(1, place));
  std::vector<uint8_t> pixels(1024);
  file.read_images(Split::kTrain, 1, 1, pixels);
  EXPECT_EQ(pixels, resize_to_square(second, 32).pixels);
  EXPECT_EQ(error_of([&] {
              import_images(folder / "set", folder / "x.h5", {.test_fraction = 0.5});
            }).code(),
            ExitCode::kUsage);
}

TEST(IdxImport, RefusesFilesThatAreNotWhatTheirHeadersSay) {
  const TemporaryFolder folder;
  const auto expect_error =
      [&](const std::string& name, const std::string& bytes, const std::string& words) {
        fs::remove_all(folder / "set");
        write_set(folder / "set");
        write_bytes(folder / "set/" + name, bytes);
        const Error error = error_of([&] { import_images(folder / "set", folder / "out.h5", {}); });
        EXPECT_EQ(error.code(), ExitCode::kBadData);
        EXPECT_THAT(error.what(), HasSubstr(words));
        EXPECT_THAT(error.what(), HasSubstr(name.substr(0, 5)));
        EXPECT_FALSE(fs::exists(folder / "out.h5"));
      };
  expect_error("train-images-idx3-ubyte", "", "cut off");
  expect_error("train-images-idx3-ubyte", images(3, 3).substr(0, 11), "cut off");
  expect_error("train-images-idx3-ubyte", images(3, 3).substr(0, 2000), "cut off");
  expect_error("train-images-idx3-ubyte", images(3, 4), "claims 3 labels");
  expect_error("train-images-idx3-ubyte", images(4, 3), "goes on after");
  expect_error("train-images-idx3-ubyte", numbers({0x803, 3, 28, 27}), "28 x 27");
  expect_error("train-images-idx3-ubyte",
               numbers({0x803, 3, 0xffffffff, 0xffffffff}),
               "4294967295 x 4294967295");
  expect_error("train-images-idx3-ubyte", numbers({0x803, 3, 0, 0}), "0 x 0");
  expect_error("train-images-idx3-ubyte", labels("abc", 3), "0x00000801 instead of 0x00000803");
  expect_error("train-labels-idx1-ubyte", labels("\7\1\12", 3), "image 2 has label 10");
  expect_error("train-labels-idx1-ubyte", labels("\7\1", 3), "cut off");
  expect_error("train-labels-idx1-ubyte", labels("\7\1\1\1", 3), "goes on after");
  const std::string gzip = [&] {
    write_set(folder / "good");
    return testing::read_bytes(folder / "good/t10k-images-idx3-ubyte.gz");
  }();
  for (size_t length = 20; length < gzip.size(); ++length) {
    fs::remove_all(folder / "set");
    write_set(folder / "set");
    write_bytes(folder / "set/t10k-images-idx3-ubyte.gz", gzip.substr(0, length));
    EXPECT_EQ(error_of([&] { import_images(folder / "set", folder / "out.h5", {}); }).code(),
              ExitCode::kBadData)
        << length;
  }
  std::string damaged = gzip;
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  expect_error("t10k-images-idx3-ubyte.gz", damaged, "gzip stream is damaged");
  fs::remove(folder / "set/train-labels-idx1-ubyte");
  EXPECT_THAT(error_of([&] { import_images(folder / "set", folder / "out.h5", {}); }).what(),
              HasSubstr("lacks train-labels-idx1-ubyte"));
}

}  // namespace
}  // namespace lockstep
