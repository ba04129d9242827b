#include "lockstep/launch/commands/session_runner.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <new>
#include <tuple>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// Runs a session whose preparation fails, in a process of its own; ends it with the exit code.
[[noreturn]] void fail_in_preparation(const std::function<void()>& prepare) {
  int argc = 0;
  char** argv = nullptr;
  std::exit(run_in_session(&argc, &argv, prepare, [](Session&) { return 0; }));
}

class SessionRunner : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(SessionRunner, CarriesAnErrorOfThePreparationIntoTheJob) {
  EXPECT_EXIT(fail_in_preparation([] { throw_error(ExitCode::kUsage, "a bad key"); }),
              testing::ExitedWithCode(64),
              "lockstep: error: a bad key");
}

TEST_F(SessionRunner, CarriesAnythingElseToo) {
  EXPECT_EXIT(fail_in_preparation([] { throw std::bad_alloc(); }),
              testing::ExitedWithCode(70),
              "lockstep: error: out of memory");
  EXPECT_EXIT(fail_in_preparation(
                  [] { std::ignore = std::filesystem::file_size("/a/file/that/is/not/there"); }),
              testing::ExitedWithCode(74),
              "lockstep: error: .*/a/file/that/is/not/there");
  EXPECT_EXIT(fail_in_preparation([] { throw 7; }), testing::ExitedWithCode(70), "unknown type");
}

}  // namespace
}  // namespace lockstep
