#include "lockstep/core/base/durable_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class DurableFile : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_ / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_))
      names.push_back(entry.path().filename());
    return names;
  }

  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};
using Sha256Digest = DurableFile;

template <typename Action>
std::string io_failure(const Action& action) {
  try {
    action();
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    return error.what();
  }
}

// Runs `action` in a child process and returns how it ended, as waitpid() tells it.
template <typename Action>
int in_child(const Action& action) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(action());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

void limit_file_size(rlim_t bytes) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{bytes, bytes};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

TEST_F(DurableFile, WritesAndReplacesAFile) {
  write_file_durably(at("a"), std::string("one"));
  EXPECT_EQ(read_file(at("a")), "one");
  const std::string large(3'000'000, 'x');
  write_file_durably(at("a"), large);
  EXPECT_EQ(read_file(at("a")), large);
  write_file_durably(at("a"), std::string());
  EXPECT_EQ(read_file(at("a")), "");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(DurableFile, WritesBesideTheWorkingFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file_durably("plain", std::string("x"));
  fs::current_path(before);
  EXPECT_EQ(read_file(at("plain")), "x");
}

TEST_F(DurableFile, FollowsTheUserMaskForPermissions) {
  const mode_t before = ::umask(027);
  write_file_durably(at("a"), std::string("x"));
  write_folder_durably(at("d"), [](const std::string&) {});
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(at("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
  ASSERT_EQ(::stat(at("d").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0750u);
}

TEST_F(DurableFile, FullDiskLeavesTheOldFile) {
  write_file_durably(at("a"), std::string("old"));
  const int status = in_child([&] {
    limit_file_size(1000);
    const std::string message =
        io_failure([&] { write_file_durably(at("a"), std::string(2000, 'x')); });
    return message.find("File too large") != message.npos && message.find(at("a")) != message.npos;
  });
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(read_file(at("a")), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(DurableFile, FullDiskLeavesTheOldFolder) {
  write_folder_durably(at("d"), [](const std::string& folder) {
    write_file_durably(folder + "/f", std::string("old"));
  });
  const int status = in_child([&] {
    limit_file_size(1000);
    return !io_failure([&] {
              write_folder_durably(at("d"), [](const std::string& folder) {
                write_file_durably(folder + "/f", std::string(2000, 'x'));
              });
            }).empty();
  });
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(read_file(at("d") + "/f"), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"d"});
}

TEST_F(DurableFile, UnwritableFolderIsNamed) {
  ASSERT_EQ(::mkdir(at("closed").c_str(), 0555), 0);
  // Permissions do not bind root: the child gives them up.
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  const int status = in_child([&] {
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 2;
    const std::string message =
        io_failure([&] { write_file_durably(at("closed/a"), std::string("x")); });
    return message.find("Permission denied; choose a folder") != message.npos ? 1 : 0;
  });
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(io_failure([&] { write_file_durably(at("missing/a"), std::string("x")); }),
              HasSubstr(at("missing/a")));
  EXPECT_NE(io_failure([&] { write_folder_durably(at("missing/d"), [](const std::string&) {}); }),
            "");
  EXPECT_EQ(names(), std::vector<std::string>{"closed"});
}

TEST_F(DurableFile, ReadsOnlyWhatIsThereAndSensible) {
  write_file_durably(at("a"), std::string(1000, 'x'));
  EXPECT_EQ(read_file(at("a"), 1000).size(), 1000u);
  EXPECT_THAT(io_failure([&] { read_file(at("a"), 999); }), HasSubstr("999 bytes"));
  EXPECT_THAT(io_failure([&] { read_file(at("b")); }), HasSubstr("No such file"));
  EXPECT_THAT(io_failure([&] { read_file(folder_); }), HasSubstr("Is a directory"));
  EXPECT_NE(io_failure([] { read_file("/dev/zero", 100'000); }), "");
  // Files whose size is not known beforehand.
  EXPECT_THAT(read_file("/proc/self/status"), HasSubstr("Pid:"));
}

TEST_F(DurableFile, MakesAndReplacesAFolder) {
  write_folder_durably(at("d/"), [&](const std::string& folder) {
    EXPECT_FALSE(fs::exists(at("d")));
    fs::create_directories(folder + "/deep/er");
    write_file_durably(folder + "/deep/er/f", std::string("1"));
  });
  EXPECT_EQ(read_file(at("d/deep/er/f")), "1");
  write_folder_durably(at("d"), [&](const std::string& folder) {
    EXPECT_TRUE(fs::exists(at("d/deep/er/f")));
    write_file_durably(folder + "/g", std::string("2"));
  });
  EXPECT_EQ(read_file(at("d/g")), "2");
  EXPECT_FALSE(fs::exists(at("d/deep")));
  EXPECT_EQ(names(), std::vector<std::string>{"d"});
}

TEST_F(DurableFile, FailingFillLeavesTheOldFolder) {
  write_folder_durably(at("d"), [](const std::string& folder) {
    write_file_durably(folder + "/f", std::string("old"));
  });
  EXPECT_THROW(write_folder_durably(at("d"),
                                    [](const std::string& folder) {
                                      write_file_durably(folder + "/f", std::string("new"));
                                      throw std::runtime_error("no more");
                                    }),
               std::runtime_error);
  EXPECT_EQ(read_file(at("d/f")), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"d"});
}

// Each version is a file that holds one repeated letter and a folder with two files that agree.
TEST_F(DurableFile, KilledWriterLeavesWholeFilesAndFolders) {
  const auto write_version = [&](char letter) {
    write_file_durably(at("file"), std::string(200'000, letter));
    write_folder_durably(at("folder"), [&](const std::string& folder) {
      write_file_durably(folder + "/a", std::string(50'000, letter));
      write_file_durably(folder + "/b", std::string(50'000, letter));
    });
  };
  write_version('a');
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (char letter = 'b';; letter = letter == 'z' ? 'b' : static_cast<char>(letter + 1)) {
        write_version(letter);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + round));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const std::string file = read_file(at("file"));
    EXPECT_EQ(file, std::string(200'000, file[0]));
    const std::string a = read_file(at("folder/a"));
    EXPECT_EQ(a, std::string(50'000, a[0]));
    EXPECT_EQ(read_file(at("folder/b")), a);
  }
  remove_temporaries(folder_);
  EXPECT_THAT(names(), testing::UnorderedElementsAre("file", "folder"));
}

TEST_F(DurableFile, AFolderDisappearsWhole) {
  remove_folder_whole(at("nowhere"));
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) {
        write_folder_durably(at("folder"), [&](const std::string& folder) {
          for (int i = 0; i < 20; ++i)
            write_file_durably(folder + "/" + std::to_string(i), std::string("whole"));
        });
        remove_folder_whole(at("folder"));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + round));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    for (int i = 0; std::filesystem::exists(at("folder")) && i < 20; ++i)
      EXPECT_EQ(read_file(at("folder/" + std::to_string(i))), "whole");
  }
  remove_temporaries(folder_);
  std::filesystem::remove_all(at("folder"));
  EXPECT_THAT(names(), testing::IsEmpty());
}

TEST_F(DurableFile, ConcurrentWritersLeaveOneWholeFile) {
  std::vector<std::thread> writers;
  for (char letter = 'a'; letter < 'e'; ++letter) {
    writers.emplace_back([&, letter] {
      for (int i = 0; i < 10; ++i) write_file_durably(at("a"), std::string(100'000, letter));
    });
  }
  for (std::thread& writer : writers) writer.join();
  const std::string file = read_file(at("a"));
  EXPECT_EQ(file, std::string(100'000, file[0]));
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

// FIPS 180-4's examples (NIST, "SHA256.pdf") and the empty message.
TEST_F(Sha256Digest, MatchesThePublishedVectors) {
  EXPECT_EQ(sha256_hex(std::string("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(std::string("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::string million(1'000'000, 'a');
  const std::string expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  EXPECT_EQ(sha256_hex(million), expected);
  Sha256 digest;
  for (int i = 0; i < 1000; ++i) digest.update(std::as_bytes(std::span(million).first(1000)));
  EXPECT_EQ(Sha256(std::move(digest)).hex(), expected);
  write_file_durably(at("million"), million);
  EXPECT_EQ(sha256_file(at("million")), expected);
  EXPECT_NE(io_failure([&] { sha256_file(at("missing")); }), "");
  EXPECT_NE(io_failure([&] { sha256_file(folder_); }), "");
}

}  // namespace
}  // namespace lockstep
