// What files say of themselves never commands the terminal it is printed on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "lockstep/launch/terminal/console.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  std::string output;  // standard output and standard error
  int code = -1;
};

Outcome lockstep_says(const std::string& arguments) {
  Outcome outcome;
  const std::string command = LOCKSTEP_PROGRAM " " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> part{};
  while (const size_t count = std::fread(part.data(), 1, part.size(), pipe))
    outcome.output.append(part.data(), count);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

TEST(HostileText, DataInfoEscapesSourceAndClassNames) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "hostile.h5";
  {
    ImageFileWriter writer(path,
                           {.channels = 1,
                            .height = 2,
                            .width = 2,
                            .class_names = {"cat\x1b]0;owned\x07", "dog\n  verified    all"},
                            .source = "nice\x1b[2J\x1b[H\r  digest      0000"});
    const std::array<uint8_t, 8> images{};
    const std::array<int32_t, 2> labels{0, 1};
    writer.append(Split::kTrain, images, labels);
    writer.append(Split::kTest, images, labels);
    writer.finish();
  }
  const Outcome outcome = lockstep_says("data info " + path);
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("nice\\x1b[2J"), HasSubstr("cat\\x1b]0;owned\\x07")));
  EXPECT_THAT(outcome.output, HasSubstr("dog\\x0a  verified"));
  for (const char* control : {"\x1b", "\x07", "\r"})
    EXPECT_THAT(outcome.output, Not(HasSubstr(control)));
}

TEST(HostileText, ErrorsEscapeNamesOfFiles) {
  const Outcome outcome = lockstep_says("data info \"$(printf 'no\\033[31mfile.h5')\"");
  EXPECT_NE(outcome.code, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("no\\x1b[31mfile.h5"), Not(HasSubstr("\x1b"))));
}

TEST(HostileText, SayEscapesItsArgumentsAndKeepsLines) {
  ::testing::internal::CaptureStdout();
  say("{}\n{}\n", "a\x1b[1m", "b");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "a\\x1b[1m\nb\n");
  ::testing::internal::CaptureStderr();
  complain("lockstep: {}\n", "a\x1b[1m");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "lockstep: a\\x1b[1m\n");
}

}  // namespace
}  // namespace lockstep
