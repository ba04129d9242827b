#include "lockstep/data/import/recognise_source.h"

#include <gmock/gmock.h>

#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using testing::error_of;
using ::testing::HasSubstr;
using testing::write_bytes;

void write(const TemporaryFolder& folder, const std::string& path, const std::string& bytes = "") {
  fs::create_directories(fs::path(folder / path).parent_path());
  write_bytes(folder / path, bytes);
}

void expect_refusal(const TemporaryFolder& folder,
                    const std::string& path,
                    const std::vector<std::string>& words) {
  const Error error = error_of([&] { recognise_source(folder / path); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  for (const std::string& word : words) EXPECT_THAT(error.what(), HasSubstr(word));
}

TEST(RecogniseSource, FindsMnistsFilesWhereTorchvisionPutsThem) {
  const TemporaryFolder folder;
  write(folder, "data/MNIST/raw/train-images-idx3-ubyte");
  write(folder, "data/MNIST/raw/train-images-idx3-ubyte.gz");
  for (const char* path : {"data", "data/MNIST", "data/MNIST/raw"}) {
    const RecognisedSource found = recognise_source(folder / path);
    EXPECT_EQ(found.kind, SourceKind::kIdx);
    EXPECT_EQ(found.path, folder / "data/MNIST/raw");
  }
}

TEST(RecogniseSource, FindsCifarsFilesInFoldersAroundThem) {
  const TemporaryFolder folder;
  write(folder, "data/cifar10/cifar-10-batches-bin/data_batch_1.bin");
  write(folder, "data/preview.png");
  write(folder, "data/__MACOSX/cifar10/data_batch_1.bin");
  for (const char* path : {"data", "data/cifar10", "data/cifar10/cifar-10-batches-bin"}) {
    const RecognisedSource found = recognise_source(folder / path);
    EXPECT_EQ(found.kind, SourceKind::kCifar);
    EXPECT_EQ(found.path, folder / "data/cifar10/cifar-10-batches-bin");
  }
}

TEST(RecogniseSource, NamesTheSetsWhereThereAreSeveral) {
  const TemporaryFolder folder;
  write(folder, "data/MNIST/raw/train-images-idx3-ubyte");
  write(folder, "data/FashionMNIST/raw/train-images-idx3-ubyte");
  expect_refusal(folder, "data", {"several data sets", "FashionMNIST/raw", "data/MNIST/raw"});
  EXPECT_EQ(recognise_source(folder / "data/MNIST").kind, SourceKind::kIdx);

  write(folder, "mixed/cifar/test.bin");
  write(folder, "mixed/pets/cat/1.png");
  expect_refusal(folder, "mixed", {"several data sets", "mixed/cifar", "folders of pictures"});
}

TEST(RecogniseSource, NamesCifarsOtherVersionsAndTheOneToTake) {
  const TemporaryFolder folder;
  write(folder, "data/cifar-10-batches-py/data_batch_1", "\x80\x02");
  write(folder, "data/cifar-10-batches-py/batches.meta", "\x80\x02");
  for (const char* path : {"data", "data/cifar-10-batches-py"})
    expect_refusal(
        folder,
        path,
        {"CIFAR-10's Python version", "cifar-10-binary.tar.gz", "data download cifar10"});
  for (const char* name : {"train", "test", "meta"})
    write(folder, std::string("cifar-100-python/") + name, "\x80\x02");
  expect_refusal(
      folder, "cifar-100-python", {"CIFAR-100's Python version", "data download cifar100"});
  write(folder, "matlab/data_batch_1.mat", "MATLAB 5.0 MAT-file");
  expect_refusal(folder, "matlab", {"CIFAR-10's MATLAB version"});
  expect_refusal(folder, "data/cifar-10-batches-py/data_batch_1", {"a Python pickle", "binary"});
}

TEST(RecogniseSource, NamesFilesOfOtherKinds) {
  const TemporaryFolder folder;
  write(folder, "pets.zip", "PK\x03\x04....");
  expect_refusal(folder, "pets.zip", {"a zip archive", "unpack it and give the folder"});
  write(folder, "set.h5", "\x89HDF\r\n\x1a\n");
  expect_refusal(folder, "set.h5", {"an HDF5 file", "needs no import"});
  write(folder, "cat.jpg", "\xff\xd8\xff\xe0");
  expect_refusal(folder, "cat.jpg", {"a single picture"});
  write(folder, "train-images-idx3-ubyte.gz", "\x1f\x8b");
  expect_refusal(folder, "train-images-idx3-ubyte.gz", {"one of MNIST's files"});
  write(folder, "cifar.tar.gz", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9");
  expect_refusal(folder, "cifar.tar.gz", {"Git LFS pointer", "git lfs pull"});
  EXPECT_EQ(error_of([&] { recognise_source(folder / "missing"); }).code(), ExitCode::kInputOutput);
}

}  // namespace
}  // namespace lockstep
