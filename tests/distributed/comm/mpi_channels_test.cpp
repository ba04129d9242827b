// Channels over real processes.
#include <gtest/gtest.h>

#include "lockstep/core/base/sha256.h"
#include "lockstep/distributed/comm/mpi/shared_window.h"
#include "lockstep/distributed/comm/preflight.h"
#include "tests/distributed/comm/mpi_fixture.h"

namespace lockstep::test {
namespace {

std::string digest(const at::Tensor& tensor) {
  return sha256_hex(
      std::as_bytes(std::span(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())));
}

TEST(MpiCommunicator, SumsAreRightAndTheSameBitsOnEveryRank) {
  const auto communicator = session->make_mpi_communicator(at::kCPU);
  for (int64_t size : {1, 7, 1000, 300001}) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(rank()));
    const at::Tensor mine = torch::randn({size}, generator);
    at::Tensor expected = torch::zeros({size}, torch::kDouble);
    for (int r = 0; r < world_size(); ++r) {
      expected +=
          torch::randn({size}, at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(r)));
    }
    at::Tensor sum = mine.clone();
    communicator->all_reduce(sum, "test");
    EXPECT_TRUE(torch::allclose(sum.to(torch::kDouble), expected, 1e-5, 1e-5));
    for (const std::string& other : session->control().all_gather(digest(sum), "digests"))
      EXPECT_EQ(other, digest(sum)) << size;
  }
}

TEST(MpiCommunicator, SeveralSumsUnderWayAndOtherTypes) {
  const auto first = session->make_mpi_communicator(at::kCPU);
  const auto second = session->make_mpi_communicator(at::kCPU);
  at::Tensor a = torch::full({100000}, 1.0f),
             b = torch::full({5}, static_cast<int64_t>(rank()), torch::kLong);
  at::Tensor c = torch::full({3}, 0.5, torch::kDouble);
  auto work_a = first->start_all_reduce(a, "a");
  auto work_c = first->start_all_reduce(c, "c");
  second->all_reduce(b, "b");  // a channel of its own: may overtake
  first->make_progress();
  work_c->wait();
  work_a->wait();
  EXPECT_EQ(a[99999].item<float>(), static_cast<float>(world_size()));
  EXPECT_EQ(b[4].item<int64_t>(), world_size() * (world_size() - 1) / 2);
  EXPECT_EQ(c[0].item<double>(), 0.5 * world_size());
}

TEST(MpiCommunicator, BroadcastOverwritesWithTheRoots) {
  const auto communicator = session->make_mpi_communicator(at::kCPU);
  at::Tensor tensor = torch::full({11}, static_cast<float>(rank() + 1));
  const int root = world_size() - 1;
  communicator->broadcast(tensor, root, "test");
  EXPECT_EQ(tensor.sum().item<float>(), 11.0f * static_cast<float>(root + 1));
}

TEST(ControlChannel, CarriesBytesOfAnyLength) {
  const std::string mine(static_cast<size_t>(rank()) * 1000, static_cast<char>('a' + rank()));
  const auto all = session->control().all_gather(mine, "test");
  ASSERT_EQ(all.size(), static_cast<size_t>(world_size()));
  for (int r = 0; r < world_size(); ++r) {
    EXPECT_EQ(all[static_cast<size_t>(r)],
              std::string(static_cast<size_t>(r) * 1000, static_cast<char>('a' + r)));
  }
  const std::string text =
      session->control().broadcast(rank() == 0 ? std::string("x\0y", 3) : "", 0, "test");
  EXPECT_EQ(text, std::string("x\0y", 3));
}

TEST(Preflight, OneRanksErrorIsEveryRanksError) {
  const int guilty = world_size() - 1;
  try {
    agree(session->control(), "test", [&] {
      if (rank() == guilty) throw_error(ExitCode::kBadData, "label 11 is out of range");
    });
    FAIL() << "no error";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_NE(std::string(error.what()).find("label 11"), std::string::npos);
    if (world_size() > 1) {
      EXPECT_NE(std::string(error.what()).find("rank " + std::to_string(guilty)),
                std::string::npos);
    }
  }
}

TEST(Preflight, DifferingFieldsAreNamed) {
  if (world_size() == 1) GTEST_SKIP() << "one rank cannot differ";
  compare_ranks(session->control(), {{"program", "same", "fix"}});
  try {
    compare_ranks(
        session->control(),
        {{"program", "same", "fix"}, {"configuration", std::to_string(rank()), "use one file"}});
    FAIL() << "no error";
  } catch (const AgreedError& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(text.find("configuration"), std::string::npos);
    EXPECT_NE(text.find("use one file"), std::string::npos);
    EXPECT_EQ(text.find("program"), std::string::npos);
  }
}

TEST(SharedWindow, EveryLocalRankSeesWhatAllHaveWritten) {
  const Topology& topology = session->topology();
  SharedWindow window(*session, 4096 * topology.local_size);
  const auto bytes = window.bytes();
  const auto mine = bytes.subspan(static_cast<size_t>(4096 * topology.local_rank), 4096);
  std::fill(mine.begin(), mine.end(), static_cast<uint8_t>(topology.local_rank + 1));
  window.synchronise();
  for (int r = 0; r < topology.local_size; ++r)
    EXPECT_EQ(bytes[static_cast<size_t>(4096 * r + 17)], r + 1);
  session->control().barrier("before the window goes");
}

TEST(SharedWindow, TooLargeOneIsRefusedOnEveryRank) {
  try {
    const SharedWindow window(*session, int64_t{1} << 50);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_NE(std::string(error.what()).find("stream"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lockstep::test
