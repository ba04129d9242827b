#include "lockstep/core/base/git_lfs.h"

#include <gmock/gmock.h>

#include <fstream>
#include <functional>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/weights/safetensors.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// As Git LFS writes it, and as `git clone` leaves it without the program git-lfs.
constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 44689432\n";

TEST(GitLfsPointer, IsNamedWhereAFileIsReadWithTheWayToFetchIt) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "resnet18.safetensors";
  std::ofstream(path) << kPointer;
  for (const std::function<void()>& read :
       {std::function<void()>([&] { read_file(path); }),
        std::function<void()>([&] { load_safetensors(path); }),
        std::function<void()>([&] { refuse_lfs_pointer_at(path); })}) {
    try {
      read();
      ADD_FAILURE() << "the pointer was taken for the file";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_THAT(error.what(), HasSubstr(path));
      EXPECT_THAT(error.what(), HasSubstr("git lfs pull"));
    }
  }
}

TEST(GitLfsPointer, IsNothingElse) {
  const test::TemporaryFolder folder;
  for (const char* text : {"", "version 1", "version https://git-lfs.github.com"}) {
    std::ofstream(folder / "a") << text;
    EXPECT_EQ(read_file(folder / "a"), text);
    refuse_lfs_pointer_at(folder / "a");
  }
  refuse_lfs_pointer_at(folder / "missing");
}

}  // namespace
}  // namespace lockstep
