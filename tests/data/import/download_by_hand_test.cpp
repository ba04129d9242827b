// Where Lockstep is built without libcurl.
#include <gmock/gmock.h>

#include "lockstep/data/import/download.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::error_of;
using ::testing::HasSubstr;

TEST(DownloadByHand, SaysWhatToFetchAndWhatToDoWithIt) {
  const TemporaryFolder folder;
  const std::string target = folder / "target";
  const DownloadSource source = known_download("cifar10");
  const Error error = error_of([&] { download_file(source, target, nullptr); });
  EXPECT_EQ(error.code(), ExitCode::kUsage);
  EXPECT_THAT(error.what(), HasSubstr(source.url));
  EXPECT_THAT(error.what(), HasSubstr(source.sha256));
  EXPECT_THAT(error.what(), HasSubstr("lockstep data import"));
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_FALSE(std::filesystem::exists(target + ".part"));
}

}  // namespace
}  // namespace lockstep
