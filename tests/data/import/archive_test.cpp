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

// A member as POSIX (pax) has it: its name in a header of its own, in UTF-8, and cut in the old
// one.
std::string pax_member(const std::string& name, const std::string& bytes) {
  const auto block = [](const std::string& old_name, char type, const std::string& content) {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& text) {
      header.replace(at, text.size(), text);
    };
    put(0, old_name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, fmt::format("{:011o}", content.size()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, std::string(1, type));
    put(257, std::string("ustar\00000", 8));
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<uint8_t>(c);
    put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    return header + content + std::string((512 - content.size() % 512) % 512, '\0');
  };
  const std::string field = fmt::format(" path={}\n", name);
  const std::string record = std::to_string(field.size() + 2) + field;
  return block("PaxHeaders/x", 'x', record) + block("x", '0', bytes);
}

// Tests run in the locale "C", as programs do in containers: it has no letter for the é.
TEST_F(ArchiveTest, TakesNamesAsBytesInAnyEncoding) {
  for (const std::string folder : {"donn\xc3\xa9s", "donn\xe9s"}) {
    testing::write_bytes(path_,
                         pax_member(folder + "/one", "1") + pax_member(folder + "/two", "2") +
                             std::string(1024, '\0'));
    EXPECT_THAT(read_archive_members(path_, {"one", "two"}),
                ElementsAre(Pair("one", "1"), Pair("two", "2")));
    EXPECT_THAT(archive_file_names(path_), ElementsAre("one", "two"));
  }
}

TEST_F(ArchiveTest, NamesAGitLfsPointer) {
  testing::write_bytes(path_, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  const Error error = error_of([&] { read_archive_members(path_, {"one"}); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr("git lfs pull"));
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
