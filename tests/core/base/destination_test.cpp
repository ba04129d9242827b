#include "lockstep/core/base/destination.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "lockstep/core/base/descriptor.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class WrittenResult : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_ / name; }

  // The message with which `action` is refused; empty when it is not.
  template <typename Action>
  std::string refusal(ExitCode code, const Action& action) const {
    try {
      action();
      return {};
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
  }

  void make_pipe(const std::string& name) const { ASSERT_EQ(::mkfifo(at(name).c_str(), 0666), 0); }

  const test::TemporaryFolder folder_;
};

TEST_F(WrittenResult, GoesBehindASymbolicLinkWhichStays) {
  fs::create_directories(at("disk"));
  fs::create_symlink("disk/second", at("link"));
  fs::create_symlink("file", at("disk/second"));
  for (const std::string text : {"made", "replaced"}) {  // what it names need not be there yet
    write_file_durably(at("link"), text);
    EXPECT_TRUE(fs::is_symlink(at("link")));
    EXPECT_TRUE(fs::is_symlink(at("disk/second")));
    EXPECT_EQ(read_file(at("disk/file")), text);
  }
  fs::create_symlink("circle", at("circle"));
  EXPECT_THAT(
      refusal(ExitCode::kInputOutput, [&] { write_file_durably(at("circle"), std::string("x")); }),
      HasSubstr(at("circle")));
}

TEST_F(WrittenResult, KeepsThePermissionsOfTheFileThatItReplaces) {
  write_file_durably(at("secret"), std::string("old"));
  ASSERT_EQ(::chmod(at("secret").c_str(), 0600), 0);
  write_file_durably(at("secret"), std::string("new"));
  struct stat status {};
  ASSERT_EQ(::stat(at("secret").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(read_file(at("secret")), "new");
}

TEST_F(WrittenResult, GoesThroughAPipeWhichStays) {
  make_pipe("pipe");
  const std::string text(300'000, 'x');  // more than a pipe holds
  std::string received;
  std::thread reader([&] { received = read_file(at("pipe")); });
  write_file_durably(at("pipe"), text);
  reader.join();
  EXPECT_EQ(received, text);
  EXPECT_TRUE(fs::is_fifo(at("pipe")));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(WrittenResult, IsAnErrorWhereThePipesReaderLeaves) {
  make_pipe("pipe");
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  std::thread reader([&] { const Descriptor file(::open(at("pipe").c_str(), O_RDONLY)); });
  EXPECT_THAT(refusal(ExitCode::kInputOutput,
                      [&] { write_file_durably(at("pipe"), std::string(300'000, 'x')); }),
              HasSubstr(at("pipe")));
  reader.join();
  std::signal(SIGPIPE, before);
}

TEST_F(WrittenResult, GoesWhereAnOpenDescriptorStands) {
  const Descriptor log(::open(at("log").c_str(), O_RDWR | O_CREAT, 0666));
  fs::create_symlink("/dev/fd/" + std::to_string(log.value()), at("link"));
  ASSERT_EQ(::write(log.value(), "head ", 5), 5);
  write_file_durably("/dev/fd/" + std::to_string(log.value()), std::string("one "));
  write_file_durably(at("link"), std::string("two "));
  ASSERT_EQ(::write(log.value(), "tail", 4), 4);
  EXPECT_EQ(read_file(at("log")), "head one two tail");
}

TEST_F(WrittenResult, ThatAFullDeviceRefusesIsAnError) {
  const Descriptor full(::open("/dev/full", O_WRONLY));
  const std::string path = "/proc/self/fd/" + std::to_string(full.value());
  EXPECT_THAT(refusal(ExitCode::kInputOutput, [&] { write_file_durably(path, std::string("x")); }),
              HasSubstr("No space left"));
}

TEST_F(WrittenResult, LeavesFoldersAndSocketsAlone) {
  fs::create_directories(at("folder"));
  EXPECT_THAT(
      refusal(ExitCode::kUsage, [&] { write_file_durably(at("folder"), std::string("x")); }),
      HasSubstr("it is a folder"));
  const Descriptor listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  at("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.value(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(
      refusal(ExitCode::kUsage, [&] { write_file_durably(at("socket"), std::string("x")); }),
      HasSubstr("it is a socket"));
  EXPECT_TRUE(fs::is_socket(at("socket")));
}

TEST_F(WrittenResult, NeedsLeaveToReplaceAFileAlone) {
  write_file_durably(at("file"), std::string("old"));
  fs::create_symlink("file", at("link"));
  make_pipe("pipe");
  for (const char* name : {"file", "link"}) {
    EXPECT_THAT(refusal(ExitCode::kUsage, [&] { check_destination(at(name), false); }),
                HasSubstr("--force"));
    EXPECT_EQ(refusal(ExitCode::kOk, [&] { check_file_destination(at(name), true); }), "");
  }
  for (const char* name : {"pipe", "not-there", "no-folder/file"})
    EXPECT_EQ(refusal(ExitCode::kOk, [&] { check_destination(at(name), false); }), "");
  EXPECT_THAT(refusal(ExitCode::kUsage, [&] { check_file_destination(at("pipe"), true); }),
              HasSubstr("the name of a file"));
}

TEST_F(WrittenResult, IsNotMistakenForWhatKilledWritersLeft) {
  for (const char* name : {"weights.tmp-12-0", "00000018.tmp-12-3-old"})
    std::ofstream(at(name)) << "left by a killed writer";
  for (const char* name : {"notes.tmp-old", "draft.tmp-1", "a.tmp-12-0.txt", ".tmp-"})
    std::ofstream(at(name)) << "a user's";
  remove_temporaries(folder_.path());
  EXPECT_FALSE(fs::exists(at("weights.tmp-12-0")));
  EXPECT_FALSE(fs::exists(at("00000018.tmp-12-3-old")));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 4);
}

}  // namespace
}  // namespace lockstep
