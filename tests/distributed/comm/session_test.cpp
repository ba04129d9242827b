// Channels and shared memory, whatever the ranks are.
#include "lockstep/distributed/comm/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "lockstep/core/base/sha256.h"
#include "lockstep/distributed/comm/preflight.h"
#include "tests/distributed/comm/world_fixture.h"

namespace lockstep::test {
namespace {

class CommunicatorTest : public OnEveryWorld {};
class ControlChannelTest : public OnEveryWorld {};
class PreflightTest : public OnEveryWorld {};
class SharedMemoryTest : public OnEveryWorld {};

std::string digest(const at::Tensor& tensor) {
  return sha256_hex(
      std::as_bytes(std::span(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())));
}

at::Tensor random_of(int rank, int64_t size) {
  return torch::randn({size},
                      at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(rank)));
}

TEST_P(CommunicatorTest, SumsAreRightAndTheSameBitsOnEveryRank) {
  on_every_rank([](Session& session) {
    const auto communicator = cpu_channel(session);
    const Topology& topology = session.topology();
    EXPECT_EQ(communicator->rank(), topology.rank);
    EXPECT_EQ(communicator->world_size(), topology.world_size);
    for (int64_t size : {1, 7, 1000, 300001}) {
      at::Tensor expected = torch::zeros({size}, torch::kDouble);
      for (int r = 0; r < topology.world_size; ++r) expected += random_of(r, size);
      at::Tensor sum = random_of(topology.rank, size);
      communicator->all_reduce(sum, "test");
      EXPECT_TRUE(torch::allclose(sum.to(torch::kDouble), expected, 1e-5, 1e-5));
      for (const std::string& other : session.control().all_gather(digest(sum), "digests"))
        EXPECT_EQ(other, digest(sum)) << size;
    }
  });
}

TEST_P(CommunicatorTest, SeveralSumsUnderWayAndOtherTypes) {
  on_every_rank([](Session& session) {
    const auto first = cpu_channel(session);
    const auto second = cpu_channel(session);
    const int rank = session.topology().rank, world_size = session.topology().world_size;
    at::Tensor a = torch::full({100000}, 1.0f),
               b = torch::full({5}, static_cast<int64_t>(rank), torch::kLong);
    at::Tensor c = torch::full({3}, 0.5, torch::kDouble);
    auto work_a = first->start_all_reduce(a, "a");
    auto work_c = first->start_all_reduce(c, "c");
    second->all_reduce(b, "b");  // a channel of its own: may overtake
    first->make_progress();
    work_c->wait();
    work_a->wait();
    EXPECT_EQ(a[99999].item<float>(), static_cast<float>(world_size));
    EXPECT_EQ(b[4].item<int64_t>(), world_size * (world_size - 1) / 2);
    EXPECT_EQ(c[0].item<double>(), 0.5 * world_size);
  });
}

// Each sum of two is rounded to the nearest: half a unit in the last place of eight bits.
TEST_P(CommunicatorTest, Bfloat16SumsAreRoundedAndTheSameBitsOnEveryRank) {
  on_every_rank([](Session& session) {
    const auto communicator = cpu_channel(session);
    const Topology& topology = session.topology();
    for (int64_t size : {1, 7, 300001}) {
      at::Tensor exact = torch::zeros({size}, torch::kDouble), largest = torch::zeros_like(exact);
      for (int r = 0; r < topology.world_size; ++r) {
        const at::Tensor sent = random_of(r, size).to(torch::kBFloat16).to(torch::kDouble);
        exact += sent;
        largest += sent.abs();
      }
      at::Tensor sum = random_of(topology.rank, size).to(torch::kBFloat16);
      communicator->all_reduce(sum, "test");
      const at::Tensor error = (sum.to(torch::kDouble) - exact).abs();
      const double roundings = topology.world_size - 1;
      EXPECT_TRUE((error <= roundings * 0x1p-8 * largest).all().item<bool>());
      for (const std::string& other : session.control().all_gather(digest(sum), "digests"))
        EXPECT_EQ(other, digest(sum)) << size;
    }
  });
}

TEST_P(CommunicatorTest, BroadcastOverwritesWithTheRoots) {
  on_every_rank([](Session& session) {
    const auto communicator = cpu_channel(session);
    at::Tensor tensor = torch::full({11}, static_cast<float>(session.topology().rank + 1));
    const int root = session.topology().world_size - 1;
    communicator->broadcast(tensor, root, "test");
    EXPECT_EQ(tensor.sum().item<float>(), 11.0f * static_cast<float>(root + 1));
  });
}

TEST_P(ControlChannelTest, CarriesBytesOfAnyLength) {
  on_every_rank([](Session& session) {
    const int rank = session.topology().rank, world_size = session.topology().world_size;
    const auto text_of = [](int r) {
      return std::string(static_cast<size_t>(r) * 1000, static_cast<char>('a' + r));
    };
    const auto all = session.control().all_gather(text_of(rank), "test");
    ASSERT_EQ(all.size(), static_cast<size_t>(world_size));
    for (int r = 0; r < world_size; ++r) EXPECT_EQ(all[static_cast<size_t>(r)], text_of(r));
    const std::string text =
        session.control().broadcast(rank == 0 ? std::string("x\0y", 3) : "", 0, "test");
    EXPECT_EQ(text, std::string("x\0y", 3));
  });
}

TEST_P(ControlChannelTest, ANumberArrivesBitForBit) {
  on_every_rank([](Session& session) {
    const int rank = session.topology().rank, root = session.topology().world_size - 1;
    const double number = 1.0 / (3.0 + rank);
    EXPECT_EQ(broadcast_number(session.control(), number, root, "test"), 1.0 / (3.0 + root));
  });
}

TEST_P(PreflightTest, OneRanksErrorIsEveryRanksError) {
  on_every_rank([](Session& session) {
    const int rank = session.topology().rank, guilty = session.topology().world_size - 1;
    try {
      agree(session.control(), "test", [&] {
        if (rank == guilty) throw_error(ExitCode::kBadData, "label 11 is out of range");
      });
      FAIL() << "no error";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      const std::string text = error.what();
      EXPECT_NE(text.find("label 11"), std::string::npos);
      if (guilty > 0) {
        EXPECT_NE(text.find("rank " + std::to_string(guilty)), std::string::npos);
      }
    }
  });
}

TEST_P(PreflightTest, DifferingFieldsAreNamed) {
  on_every_rank([](Session& session) {
    ControlChannel& control = session.control();
    compare_ranks(control, {{"program", "same", "fix"}});
    const std::string rank = std::to_string(session.topology().rank);
    const std::vector<PreflightField> fields = {{"program", "same", "fix"},
                                                {"configuration", rank, "use one file"}};
    if (session.topology().world_size == 1) {
      EXPECT_NO_THROW(compare_ranks(control, fields));  // one rank cannot differ
      return;
    }
    try {
      compare_ranks(control, fields);
      FAIL() << "no error";
    } catch (const AgreedError& error) {
      const std::string text = error.what();
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_NE(text.find("configuration"), std::string::npos);
      EXPECT_NE(text.find("use one file"), std::string::npos);
      EXPECT_EQ(text.find("program"), std::string::npos);
    }
  });
}

TEST_P(PreflightTest, WorkOnFilesMayOutlastTheDeadlineOfPeers) {
  constexpr std::chrono::seconds kDeadline{1};
  std::mutex mutex;
  int64_t calls = 0, ranks_here = 0;
  on_every_rank([&](Session& session) {
    Watchdog& watchdog = session.watchdog();
    session.control().barrier("before the short deadline");
    watchdog.set_default_timeout(kDeadline);
    agree_on_files(session.control(), "a slow disk", [&] {
      if (session.topology().rank == 0) std::this_thread::sleep_for(2 * kDeadline);
      const std::lock_guard lock(mutex);
      ++calls;
    });
    watchdog.set_default_timeout(std::chrono::seconds(60));
    const std::lock_guard lock(mutex);
    ++ranks_here;
  });
  EXPECT_EQ(calls, ranks_here);
}

TEST(FileTimeout, IsAnHourOrTheDefaultWhereThatIsLonger) {
  Watchdog watchdog(std::chrono::seconds(60));
  EXPECT_EQ(watchdog.file_timeout(), std::chrono::hours(1));
  watchdog.set_default_timeout(std::chrono::hours(2));
  EXPECT_EQ(watchdog.file_timeout(), std::chrono::hours(2));
}

TEST(FileTimeout, EndsWithTheDefaultOnceAPeerIsKnownToBeLost) {
  Watchdog watchdog(std::chrono::milliseconds(200));
  std::atomic<bool> lost = false;
  std::promise<std::string> told;
  watchdog.set_peer_check([&] { return lost.load(); });
  watchdog.set_on_expiry([&](const std::string& message) { told.set_value(message); });
  const auto guard = watchdog.watch_files("saving");
  auto message = told.get_future();
  EXPECT_EQ(message.wait_for(std::chrono::milliseconds(600)), std::future_status::timeout);
  lost = true;
  ASSERT_EQ(message.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_NE(message.get().find("files: saving"), std::string::npos);
}

TEST_P(PreflightTest, OneRanksErrorInWorkOnFilesIsEveryRanksError) {
  on_every_rank([](Session& session) {
    const auto full_disk = [&] {
      if (session.topology().rank == 0) throw_error(ExitCode::kInputOutput, "the disk is full");
    };
    EXPECT_THROW(agree_on_files(session.control(), "a full disk", full_disk), AgreedError);
  });
}

TEST_P(SharedMemoryTest, EveryLocalRankSeesWhatAllHaveWritten) {
  on_every_rank([](Session& session) {
    const Topology& topology = session.topology();
    const auto memory = session.share_memory(4096 * topology.local_size);
    const auto bytes = memory->bytes();
    const auto mine = bytes.subspan(static_cast<size_t>(4096 * topology.local_rank), 4096);
    std::fill(mine.begin(), mine.end(), static_cast<uint8_t>(topology.local_rank + 1));
    memory->synchronise();
    for (int r = 0; r < topology.local_size; ++r)
      EXPECT_EQ(bytes[static_cast<size_t>(4096 * r + 17)], r + 1);
    session.control().barrier("before the memory goes");
  });
}

TEST_P(SharedMemoryTest, TooMuchIsRefusedOnEveryRank) {
  on_every_rank([](Session& session) {
    try {
      const auto memory = session.share_memory(int64_t{1} << 50);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kInputOutput);
      EXPECT_NE(std::string(error.what()).find("stream"), std::string::npos) << error.what();
    }
  });
}

LOCKSTEP_ON_EVERY_WORLD(CommunicatorTest);
LOCKSTEP_ON_EVERY_WORLD(ControlChannelTest);
LOCKSTEP_ON_EVERY_WORLD(PreflightTest);
LOCKSTEP_ON_EVERY_WORLD(SharedMemoryTest);

}  // namespace
}  // namespace lockstep::test
