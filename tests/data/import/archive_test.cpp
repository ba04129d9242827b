#include "lockstep/data/import/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>

#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Pair;

struct Member {
  std::string path;
  std::string bytes;
  std::function<void(archive_entry*)> change = [](archive_entry*) {};
};

void write_archive(const std::string& path, const std::vector<Member>& members) {
  archive* writer = archive_write_new();
  archive_write_set_format_pax(writer);
  archive_write_add_filter_gzip(writer);
  ASSERT_EQ(archive_write_open_filename(writer, path.c_str()), ARCHIVE_OK);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.path.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(member.bytes.size()));
    member.change(entry);
    ASSERT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << archive_error_string(writer);
    archive_write_data(writer, member.bytes.data(), member.bytes.size());
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
}

class ArchiveTest : public ::testing::Test {
 protected:
  void expect_refused(const std::string& words,
                      const Member& member,
                      const ArchiveLimits& limits = {}) {
    write_archive(path_, {{"set/good", "bytes"}, member});
    const Error error = error_of([&] { read_archive_members(path_, {"good", "bad"}, limits); });
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr(words));
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "a.tar.gz";
};

TEST_F(ArchiveTest, GivesTheMembersAskedForWhereverTheyLie) {
  const std::string large(1'000'000, 'x');
  write_archive(path_, {{"set/one", large}, {"other", "ignored"}, {"set/deeper/two", "2"}});
  EXPECT_THAT(read_archive_members(path_, {"one", "two", "three"}),
              ElementsAre(Pair("one", large), Pair("two", "2")));
}

TEST_F(ArchiveTest, RefusesPathsThatLeadOut) {
  expect_refused("..", {"../bad", "x"});
  expect_refused("..", {"set/../../bad", "x"});
  expect_refused("absolute", {"/etc/bad", "x"});
}

TEST_F(ArchiveTest, RefusesLinksAndDevices) {
  expect_refused("link", {"bad", "", [](archive_entry* entry) {
                            archive_entry_set_filetype(entry, AE_IFLNK);
                            archive_entry_set_symlink(entry, "/etc/passwd");
                          }});
  expect_refused("link", {"bad", "", [](archive_entry* entry) {
                            archive_entry_set_hardlink(entry, "set/good");
                          }});
  expect_refused("neither a file nor a folder", {"bad", "", [](archive_entry* entry) {
                                                   archive_entry_set_filetype(entry, AE_IFIFO);
                                                 }});
}

TEST_F(ArchiveTest, RefusesSparseGiantsAndSizesBeyondTheLimits) {
  expect_refused("sparse", {"bad", "x", [](archive_entry* entry) {
                              archive_entry_set_size(entry, la_int64_t{100} << 20);
                              archive_entry_sparse_add_entry(entry, 0, 1);
                            }});
  const std::string thousand(1000, 'x');
  expect_refused("more than the 999 allowed", {"bad", thousand}, {.member_bytes = 999});
  expect_refused("more than the 999 allowed", {"unasked", thousand}, {.member_bytes = 999});
  expect_refused("allowed", {"unasked", thousand}, {.total_bytes = 1024});
  expect_refused("1 allowed", {"unasked", ""}, {.num_members = 1});
}

TEST_F(ArchiveTest, RefusesTwoMembersOfOneName) {
  expect_refused("second", {"elsewhere/good", "x"});
}

TEST_F(ArchiveTest, RefusesDamagedArchives) {
  std::string noise;
  for (uint32_t i = 0, value = 1; i < 300'000; ++i)
    noise += static_cast<char>((value = value * 1664525 + 1013904223) >> 24);
  write_archive(path_, {{"set/good", noise}});
  const std::string good = testing::read_bytes(path_);
  for (const size_t size : {size_t{0}, size_t{5}, size_t{100}, good.size() / 2}) {
    testing::write_bytes(path_, good.substr(0, size));
    EXPECT_EQ(error_of([&] { read_archive_members(path_, {"good"}); }).code(), ExitCode::kBadData)
        << size;
  }
  testing::write_bytes(path_, std::string(5000, 'z'));
  EXPECT_EQ(error_of([&] { read_archive_members(path_, {"good"}); }).code(), ExitCode::kBadData);
  EXPECT_EQ(error_of([&] { read_archive_members(folder_ / "none", {"good"}); }).code(),
            ExitCode::kInputOutput);
}

}  // namespace
}  // namespace lockstep
