// Files made with the HDF5 library to deceive a reader.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <hdf5.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "tests/data/image_set/old_format_set.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::write_bytes;
using testing::write_small_set;

constexpr int64_t kTrain = 40;
constexpr hsize_t kImages[] = {kTrain, 3, 4, 5};
constexpr hsize_t kChunk[] = {16, 3, 4, 5};

// A dataset at `name` with the creation properties that `prepare` sets.
void create_dataset(hid_t file,
                    const char* name,
                    hid_t type,
                    const std::vector<hsize_t>& shape,
                    const std::function<void(hid_t properties)>& prepare) {
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  prepare(properties);
  const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  ASSERT_GE(dataset, 0);
  H5Dclose(dataset);
  H5Pclose(properties);
  H5Sclose(space);
}

void chunk_images(hid_t properties) { H5Pset_chunk(properties, 4, kChunk); }

void chunk_and_checksum(hid_t properties) {
  chunk_images(properties);
  H5Pset_fletcher32(properties);
}

void replace_attribute(hid_t file, const char* name, hid_t type, hid_t space, const void* value) {
  H5Adelete(file, name);
  const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(attribute, 0);
  ASSERT_GE(H5Awrite(attribute, type, value), 0);
  H5Aclose(attribute);
  H5Sclose(space);
}

class HostileImageFile : public ::testing::Test {
 protected:
  void SetUp() override { write_small_set(path_, kTrain, 9); }

  // Changes the good file through `change` and expects a refusal that speaks of `words`, from the
  // file and from the probe.
  void expect_refused(const std::string& words, const std::function<void(hid_t file)>& change) {
    SCOPED_TRACE(words);
    write_small_set(path_, kTrain, 9);
    const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    ASSERT_GE(file, 0);
    change(file);
    ASSERT_GE(H5Fclose(file), 0);
    for (const auto& open :
         {std::function<void()>([&] { ImageFile{path_}; }), {[&] { probe_image_file(path_); }}}) {
      const Error error = error_of(open);
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_THAT(error.what(), HasSubstr(words));
      EXPECT_THAT(error.what(), HasSubstr(path_));
    }
  }

  void expect_images_refused(const std::string& words,
                             hid_t type,
                             const std::vector<hsize_t>& shape,
                             const std::function<void(hid_t properties)>& prepare) {
    expect_refused(words, [&](hid_t file) {
      H5Ldelete(file, "/train/images", H5P_DEFAULT);
      create_dataset(file, "/train/images", type, shape, prepare);
    });
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "set.h5";
  const std::vector<hsize_t> images_{std::begin(kImages), std::end(kImages)};
};

TEST_F(HostileImageFile, TheUnchangedFilePassesTheProbe) {
  EXPECT_NO_THROW(probe_image_file(path_));
}

TEST_F(HostileImageFile, LinksAreRefused) {
  expect_refused("soft link", [](hid_t file) {
    H5Ldelete(file, "/train/images", H5P_DEFAULT);
    H5Lcreate_soft("/test/images", file, "/train/images", H5P_DEFAULT, H5P_DEFAULT);
  });
  expect_refused("soft link", [](hid_t file) {
    H5Ldelete(file, "/test", H5P_DEFAULT);
    H5Lcreate_soft("/train", file, "/test", H5P_DEFAULT, H5P_DEFAULT);
  });
  const std::string other = folder_ / "other.h5";
  write_small_set(other, kTrain, 9);
  expect_refused("external link", [&](hid_t file) {
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    H5Lcreate_external(
        other.c_str(), "/train/labels", file, "/train/labels", H5P_DEFAULT, H5P_DEFAULT);
  });
}

TEST_F(HostileImageFile, DataInOtherFilesIsRefused) {
  write_bytes(folder_ / "secret", std::string(kTrain * 60, 's'));
  expect_images_refused("in another file", H5T_STD_U8LE, images_, [&](hid_t properties) {
    H5Pset_external(properties, (folder_ / "secret").c_str(), 0, kTrain * 60);
  });
  const std::string other = folder_ / "other.h5";
  write_small_set(other, kTrain, 9);
  expect_images_refused("virtual dataset", H5T_STD_U8LE, images_, [&](hid_t properties) {
    const hid_t space = H5Screate_simple(4, kImages, nullptr);
    H5Pset_virtual(properties, space, other.c_str(), "/train/images", space);
    H5Sclose(space);
  });
}

TEST_F(HostileImageFile, OtherFiltersAreRefused) {
  expect_images_refused("filters", H5T_STD_U8LE, images_, chunk_images);
  expect_images_refused("filters", H5T_STD_U8LE, images_, [](hid_t properties) {
    chunk_images(properties);
    H5Pset_deflate(properties, 6);
  });
  expect_images_refused("filters", H5T_STD_U8LE, images_, [](hid_t properties) {
    chunk_and_checksum(properties);
    H5Pset_deflate(properties, 6);
  });
  const auto pass = [](unsigned, size_t, const unsigned*, size_t bytes, size_t*, void**) {
    return bytes;
  };
  const H5Z_class2_t unknown{H5Z_CLASS_T_VERS, 32000, 1, 1, "unknown", nullptr, nullptr, pass};
  ASSERT_GE(H5Zregister(&unknown), 0);
  expect_images_refused("filters", H5T_STD_U8LE, images_, [](hid_t properties) {
    chunk_images(properties);
    H5Pset_filter(properties, 32000, H5Z_FLAG_MANDATORY, 0, nullptr);
  });
}

TEST_F(HostileImageFile, OtherTypesRanksAndLayoutsAreRefused) {
  for (const hid_t type : {H5T_STD_I8LE, H5T_STD_U16LE, H5T_IEEE_F32LE, H5T_C_S1}) {
    expect_images_refused("unsigned 8-bit", type, images_, chunk_and_checksum);
  }
  expect_images_refused(
      "3 dimensions instead of 4", H5T_STD_U8LE, {kTrain, 12, 5}, [](hid_t properties) {
        const hsize_t chunk[] = {16, 12, 5};
        H5Pset_chunk(properties, 3, chunk);
        H5Pset_fletcher32(properties);
      });
  expect_images_refused("not stored in chunks", H5T_STD_U8LE, images_, [](hid_t) {});
  expect_images_refused("whole rows", H5T_STD_U8LE, images_, [](hid_t properties) {
    const hsize_t chunk[] = {16, 3, 2, 5};
    H5Pset_chunk(properties, 4, chunk);
    H5Pset_fletcher32(properties);
  });
  expect_refused("is not a readable dataset", [](hid_t file) {
    H5Ldelete(file, "/train/images", H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "/train/images", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
}

TEST_F(HostileImageFile, BombsAreRefusedWithoutTheirMemory) {
  expect_images_refused(
      "more than the file's", H5T_STD_U8LE, {hsize_t{1} << 40, 3, 4, 5}, chunk_and_checksum);
  expect_images_refused("bytes a row",
                        H5T_STD_U8LE,
                        {1, 3, hsize_t{1} << 30, hsize_t{1} << 30},
                        [](hid_t properties) {
                          const hsize_t chunk[] = {1, 3, 100, 100};
                          H5Pset_chunk(properties, 4, chunk);
                          H5Pset_fletcher32(properties);
                        });
  expect_images_refused("lacks the chunk", H5T_STD_U8LE, images_, chunk_and_checksum);
  expect_refused("whole rows", [](hid_t file) {
    // One chunk of 1 GiB, in a dataset that claims to be small but may grow.
    H5Ldelete(file, "/train/images", H5P_DEFAULT);
    const hsize_t limits[] = {H5S_UNLIMITED, 3, 4, 5}, chunk[] = {(hsize_t{1} << 30) / 60, 3, 4, 5};
    const hid_t space = H5Screate_simple(4, kImages, limits);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 4, chunk);
    H5Pset_fletcher32(properties);
    H5Dclose(H5Dcreate2(
        file, "/train/images", H5T_STD_U8LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Pclose(properties);
    H5Sclose(space);
  });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const long own_kib = usage.ru_maxrss;
  getrusage(RUSAGE_CHILDREN, &usage);
  EXPECT_LT(usage.ru_maxrss, own_kib + 200 * 1024);
}

TEST_F(HostileImageFile, MissingAndSurplusMembersAreRefused) {
  expect_refused("/test is missing", [](hid_t file) { H5Ldelete(file, "/test", H5P_DEFAULT); });
  expect_refused("/test/labels is missing",
                 [](hid_t file) { H5Ldelete(file, "/test/labels", H5P_DEFAULT); });
  expect_refused("has 3 members instead of 2", [](hid_t file) {
    H5Gclose(H5Gcreate2(file, "/more", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
  for (const char* name :
       {"format_version", "layout", "class_names", "mean", "std", "source", "digest"}) {
    expect_refused(fmt::format("the attribute {} is missing", name),
                   [&](hid_t file) { H5Adelete(file, name); });
  }
}

TEST_F(HostileImageFile, WrongAttributesAreRefused) {
  const int64_t version = 2;
  expect_refused("format version 2", [&](hid_t file) {
    replace_attribute(file, "format_version", H5T_STD_I64LE, H5Screate(H5S_SCALAR), &version);
  });
  const hsize_t three = 3, two = 2;
  const float not_finite[] = {0.5f, NAN, 0.5f}, zero[] = {0.5f, 0, 0.5f};
  for (const auto& values : {not_finite, zero}) {
    expect_refused("the attribute std", [&](hid_t file) {
      replace_attribute(file, "std", H5T_IEEE_F32LE, H5Screate_simple(1, &three, nullptr), values);
    });
  }
  expect_refused("the attribute mean", [&](hid_t file) {
    replace_attribute(file, "mean", H5T_IEEE_F32LE, H5Screate_simple(1, &two, nullptr), zero);
  });
  expect_refused("the attribute class_names", [&](hid_t file) {
    const char* names[] = {"ant", "bee", "cow"};
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    replace_attribute(file, "class_names", type, H5Screate_simple(1, &three, nullptr), names);
    H5Tclose(type);
  });
  const auto rename_classes = [&](const char* names, hsize_t count) {
    return [=](hid_t file) {
      const hid_t type = H5Tcopy(H5T_C_S1);
      H5Tset_size(type, 3);
      replace_attribute(file, "class_names", type, H5Screate_simple(1, &count, nullptr), names);
      H5Tclose(type);
    };
  };
  expect_refused("digest", rename_classes("antbeecat", 3));
  expect_refused("digest", rename_classes("antbee", 2));
  expect_refused("a class name is not UTF-8",
                 rename_classes("antb\xe9"
                                "ecow",
                                3));
}

TEST_F(HostileImageFile, LabelsBeyondTheClassesAreRefused) {
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t labels = H5Dopen2(file, "/train/labels", H5P_DEFAULT);
  std::vector<int32_t> values(kTrain, 1);
  values[17] = 3;
  H5Dwrite(labels, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  H5Dclose(labels);
  H5Fclose(file);
  const ImageFile opened(path_);
  EXPECT_THAT(error_of([&] { opened.read_labels(Split::kTrain); }).what(),
              HasSubstr("image 17 has label 3"));
  EXPECT_THAT(error_of([&] { probe_image_file(path_); }).what(), HasSubstr("image 17 has label 3"));
}

TEST_F(HostileImageFile, ALockedFileCanBeRead) {
  const int descriptor = open(path_.c_str(), O_RDONLY);
  ASSERT_EQ(flock(descriptor, LOCK_EX), 0);
  EXPECT_NO_THROW(probe_image_file(path_));
  EXPECT_NO_THROW(ImageFile{path_});
  close(descriptor);
}

TEST_F(HostileImageFile, AFileThatIsOpenForWritingIsNamedAsThatWithTheWayOut) {
  // What lies on the disk while a program writes, and for ever when it crashes then.
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const std::string unfinished = folder_ / "unfinished.h5";
  write_bytes(unfinished, read_bytes(path_));
  H5Fclose(file);
  for (const std::function<void()>& open :
       {std::function<void()>([&] { ImageFile{unfinished}; }),
        std::function<void()>([&] { probe_image_file(unfinished); })}) {
    const Error error = error_of(open);
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr("open for writing"));
    EXPECT_THAT(error.what(), HasSubstr(fmt::format("h5clear -s '{}'", unfinished)));
  }
  EXPECT_NO_THROW(ImageFile{path_});
  if (std::system("command -v h5clear > /dev/null") != 0) GTEST_SKIP() << "no h5clear";
  ASSERT_EQ(std::system(fmt::format("h5clear -s {}", unfinished).c_str()), 0);
  EXPECT_NO_THROW(ImageFile{unfinished});
}

TEST_F(HostileImageFile, AGitLfsPointerIsNamed) {
  write_bytes(path_, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  const Error error = error_of([&] { probe_image_file(path_); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr("git lfs pull"));
}

// In the library's oldest format nothing in the headers carries a checksum: damage there reaches
// its parsers.
TEST_F(HostileImageFile, TheProbeSurvivesDamagedHeadersOfTheOldFormat) {
  const std::string old = folder_ / "old.h5";
  testing::write_in_old_format(path_, old);
  EXPECT_NO_THROW(probe_image_file(old));
  const std::string good = read_bytes(old);
  int refused = 0;
  for (size_t i = 0; i < good.size(); i += good.size() / 250) {
    std::string bad = good;
    bad[i] = static_cast<char>(i % 3 ? bad[i] ^ (1 << (i % 8)) : 0xff);
    write_bytes(old, bad);
    try {
      probe_image_file(old);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << "byte " << i << ": " << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 50);
}

}  // namespace
}  // namespace lockstep
