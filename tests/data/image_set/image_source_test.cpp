#include "lockstep/data/image_set/image_source.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::error_of;
using testing::read_bytes;
using testing::small_set_byte;
using testing::write_bytes;
using testing::write_small_set;

// Out of order, with repetitions and both ends.
std::vector<int64_t> some_indices(int64_t count) {
  std::vector<int64_t> indices{count - 1, 0, 0, count / 2};
  for (int64_t i = 0; i < 200; ++i) indices.push_back((i * 7919 + 13) % count);
  return indices;
}

void expect_right_images(ImageSource& source, Split split, int64_t count) {
  const std::vector<int64_t> indices = some_indices(count);
  std::vector<uint8_t> images(indices.size() * 60);
  source.gather(split, indices, images.data());
  for (size_t i = 0; i < indices.size(); ++i) {
    for (int64_t k = 0; k < 60; ++k) {
      ASSERT_EQ(images[i * 60 + static_cast<size_t>(k)], small_set_byte(split, indices[i], k))
          << "image " << indices[i];
    }
  }
}

TEST(ResidentSource, GathersWhatSeveralPartsHaveFilled) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 3000, 1100);
  const ImageFile file(folder / "set.h5");
  for (const int64_t parts : {1, 2, 3, 7}) {
    std::vector<uint8_t> memory(static_cast<size_t>(resident_bytes(file.info())));
    for (int64_t part = 0; part < parts; ++part) fill_resident(file, memory, part, parts);
    const auto source = make_resident_source(file.info(), memory);
    expect_right_images(*source, Split::kTrain, 3000);
    expect_right_images(*source, Split::kTest, 1100);
  }
}

TEST(ResidentSource, EachByteIsFilledByExactlyOnePart) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 3000, 1100);
  const ImageFile file(folder / "set.h5");
  const auto size = static_cast<size_t>(resident_bytes(file.info()));
  std::vector<int> writers(size, 0);
  for (int64_t part = 0; part < 3; ++part) {
    // Over two backgrounds, a byte that nobody writes differs.
    std::vector<uint8_t> zeros(size, 0), ones(size, 255);
    fill_resident(file, zeros, part, 3);
    fill_resident(file, ones, part, 3);
    for (size_t i = 0; i < size; ++i) writers[i] += zeros[i] == ones[i];
  }
  EXPECT_TRUE(std::all_of(writers.begin(), writers.end(), [](int n) { return n == 1; }));
}

// Noted by several parts, each of its own blocks.
std::vector<uint64_t> chunk_digests(const ImageFile& file, int64_t parts = 1) {
  std::vector<uint64_t> digests(static_cast<size_t>(num_chunks(file.info())));
  for (int64_t part = 0; part < parts; ++part) fill_chunk_digests(file, digests, part, parts);
  return digests;
}

TEST(StreamingSource, GathersTheSameWithAnyCacheAndAnyParts) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 1030, 37);
  const ImageFile file(folder / "set.h5");
  for (const int64_t cache_bytes : {0, 1000, 5000, 1 << 20}) {
    const std::vector<uint64_t> digests = chunk_digests(file, 1 + cache_bytes % 3);
    const auto source = make_streaming_source(file, digests, cache_bytes);
    for (int repetition = 0; repetition < 2; ++repetition) {
      expect_right_images(*source, Split::kTrain, 1030);
      expect_right_images(*source, Split::kTest, 37);
    }
  }
}

TEST(StreamingSource, ServesSeveralThreads) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 1030, 37);
  const ImageFile file(folder / "set.h5");
  const std::vector<uint64_t> digests = chunk_digests(file);
  const auto source = make_streaming_source(file, digests, 5000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 5; ++k)
        expect_right_images(*source, i % 2 ? Split::kTrain : Split::kTest, i % 2 ? 1030 : 37);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A streamed file that was verified, then changed by `change`. What gathering image 20 and its like
// then throws.
Error refusal_after(const std::string& path, const std::function<void()>& change) {
  const std::vector<uint64_t> digests = chunk_digests(ImageFile(path));
  const ImageFile file(path);  // opened anew, so that the library holds no image of it yet
  const auto source = make_streaming_source(file, digests, 5000);
  change();
  const std::vector<int64_t> indices{3, 20};
  std::vector<uint8_t> images(120);
  return error_of([&] { source->gather(Split::kTrain, indices, images.data()); });
}

// The library reads zeros where a file has ended, and takes them: their checksum is zero.
TEST(StreamingSource, RefusesAFileThatWasCutShortSinceItWasVerified) {
  const TemporaryFolder folder;
  const std::string path = folder / "set.h5";
  for (const int64_t bytes : {0, 1000}) {
    write_small_set(path, 3000, 10);
    const Error error = refusal_after(
        path, [&] { std::filesystem::resize_file(path, static_cast<uintmax_t>(bytes)); });
    EXPECT_EQ(error.code(), ExitCode::kBadData) << bytes;
    EXPECT_THAT(error.what(), ::testing::HasSubstr(path)) << bytes;
    std::filesystem::remove(path);
  }
}

// Sound in itself, of the same size, in the same file: other images all the same.
TEST(StreamingSource, RefusesAnotherSetThatWasCopiedOverTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "set.h5";
  write_small_set(path, 3000, 10);
  write_small_set(folder / "other.h5", 3000, 10, 1);
  const std::string other = read_bytes(folder / "other.h5");
  ASSERT_EQ(other.size(), std::filesystem::file_size(path));
  const Error error = refusal_after(path, [&] { write_bytes(path, other); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(),
              ::testing::HasSubstr(path + ": the train images 0 to 15 are no longer"));
}

TEST(StreamingSource, GoesOnWithTheFileItHasOpenedWhenAnotherTakesItsName) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 1030, 37);
  const ImageFile file(folder / "set.h5");
  const std::vector<uint64_t> digests = chunk_digests(file);
  const auto source = make_streaming_source(file, digests, 1000);
  write_small_set(folder / "other.h5", 1030, 37, 1);
  std::filesystem::rename(folder / "other.h5", folder / "set.h5");
  expect_right_images(*source, Split::kTrain, 1030);
}

TEST(VerifyBlocks, OnlyThePartWithTheDamagedBlockRefusesTheFile) {
  const TemporaryFolder folder;
  write_small_set(folder / "set.h5", 3000, 10);
  std::string bytes = read_bytes(folder / "set.h5");
  std::string image;
  for (int64_t k = 0; k < 60; ++k)
    image += static_cast<char>(small_set_byte(Split::kTrain, 1500, k));
  const size_t place = bytes.find(image);
  ASSERT_NE(place, std::string::npos);
  bytes[place] = static_cast<char>(bytes[place] ^ 4);
  write_bytes(folder / "bad.h5", bytes);
  const ImageFile file(folder / "bad.h5");
  EXPECT_NO_THROW(verify_blocks(file, 0, 2));
  EXPECT_EQ(error_of([&] { verify_blocks(file, 1, 2); }).code(), ExitCode::kBadData);
  std::vector<uint8_t> memory(static_cast<size_t>(resident_bytes(file.info())));
  EXPECT_NO_THROW(fill_resident(file, memory, 0, 2));
  EXPECT_EQ(error_of([&] { fill_resident(file, memory, 1, 2); }).code(), ExitCode::kBadData);
}

}  // namespace
}  // namespace lockstep
