#include "lockstep/distributed/comm/backends.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "tests/distributed/comm/in_process_fixture.h"

namespace lockstep::test {
namespace {

using testing::HasSubstr;

TEST(Backends, TheConfigurationOffersThoseThatConnectProcesses) {
  std::string expected = "one of: auto";
  for (const Backend& backend : backends()) {
    if (backend.name != "in-process") expected += ", " + std::string(backend.name);
  }
  const std::vector<ConfigKeyHelp> keys = config_keys();
  const auto key = std::ranges::find(keys, "distributed.backend", &ConfigKeyHelp::key);
  ASSERT_NE(key, keys.end());
  EXPECT_EQ(key->allowed, expected);
}

std::string refusal(const char* wanted, const TensorPlace& place) {
  std::string text;
  run_sessions(1, [&](Session& session) {
    try {
      text = "chose " + choose_backend(wanted, session, place);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      text = error.what();
    }
  });
  return text;
}

TEST(Backends, ARefusalNamesTheReasonAndTheWayOut) {
  const TensorPlace cpu{.gpu = false, .shared_gpu = false, .no_gpu_reason = "no NVIDIA driver"};
  EXPECT_EQ(refusal("auto", cpu), "chose in-process");
  EXPECT_EQ(refusal("in-process", cpu), "chose in-process");
  EXPECT_THAT(refusal("nccl", cpu), HasSubstr("needs a GPU for every rank (no NVIDIA driver)"));
  EXPECT_THAT(refusal("nccl", cpu), HasSubstr("Set distributed.backend=in-process or auto"));
  EXPECT_THAT(refusal("mpi", cpu), HasSubstr("connected by threads of one process"));
  EXPECT_THAT(refusal("ncl", cpu), HasSubstr("no such backend"));
  const TensorPlace shared{.gpu = true, .shared_gpu = true, .no_gpu_reason = ""};
  EXPECT_EQ(refusal("auto", shared), "chose in-process");
}

TEST(Backends, ASessionMakesNoChannelThatItsRanksLack) {
  run_sessions(2, [](Session& session) {
    EXPECT_THROW(session.make_communicator("mpi", at::kCPU), Error);
    EXPECT_THROW(session.make_communicator("carrier pigeon", at::kCPU), Error);
    EXPECT_STREQ(session.make_communicator("in-process", at::kCPU)->backend(), "in-process");
  });
}

TEST(RunInProcess, ARankThatThrowsMakesItsPeersThrowAndItsErrorComesOut) {
  int peers = 0;
  const auto run = [&] {
    run_sessions(3, [&](Session& session) {
      if (session.topology().rank == 1) throw_error(ExitCode::kBadData, "the first error");
      try {
        session.control().barrier("test");
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("failed"));
        if (session.topology().rank == 0) ++peers;
        throw;
      }
    });
  };
  try {
    run();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_STREQ(error.what(), "the first error");
  }
  EXPECT_EQ(peers, 1);
}

TEST(RunInProcess, RanksInDifferentOperationsAreTold) {
  EXPECT_THROW(
      run_sessions(2,
                   [](Session& session) {
                     session.control().barrier(session.topology().rank == 0 ? "saving" : "testing");
                   }),
      Error);
}

}  // namespace
}  // namespace lockstep::test
