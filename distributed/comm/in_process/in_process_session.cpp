#include "lockstep/distributed/comm/in_process/in_process_session.h"

#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/in_process/in_process_world.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {
namespace {

class InProcessControlChannel final : public ControlChannel {
 public:
  InProcessControlChannel(InProcessChannel& channel, int rank, InProcessWorld& world)
      : channel_(channel), rank_(rank), world_size_(world.size()), watchdog_(world.watchdog()) {}
  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  std::vector<std::string> all_gather(const std::string& bytes, std::string_view label) override {
    std::vector<std::string> result;
    for (Contribution& c : channel_.collect(channel_.post(rank_, {{}, bytes}, label)))
      result.push_back(std::move(c.bytes));
    return result;
  }
  std::string broadcast(const std::string& bytes, int root, std::string_view label) override {
    return all_gather(bytes, label).at(static_cast<size_t>(root));
  }
  void barrier(std::string_view label) override { all_gather({}, label); }
  Watchdog::Guard watch_files(std::string_view label) override {
    return watchdog_.watch_files(label);
  }

 private:
  InProcessChannel& channel_;
  int rank_, world_size_;
  Watchdog& watchdog_;
};

class InProcessMemory final : public SharedMemory {
 public:
  InProcessMemory(std::shared_ptr<MappedMemory> memory, ControlChannel& control)
      : memory_(std::move(memory)), control_(control) {}
  std::span<uint8_t> bytes() const override { return memory_->bytes(); }
  void synchronise() override { control_.barrier("synchronising shared memory"); }

 private:
  std::shared_ptr<MappedMemory> memory_;
  ControlChannel& control_;
};

}  // namespace

InProcessSession::InProcessSession(InProcessWorld& world, int rank) : world_(world) {
  topology_.rank = topology_.local_rank = rank;
  topology_.world_size = topology_.local_size = world.size();
  topology_.host_names = {"this process"};
  topology_.host_of_rank.assign(static_cast<size_t>(world.size()), 0);
  control_ = std::make_unique<InProcessControlChannel>(make_channel(), rank, world);
}

std::unique_ptr<SharedMemory> InProcessSession::share_memory(int64_t bytes) {
  LOCKSTEP_CHECK(bytes >= 0, "{} bytes of shared memory", bytes);
  const int64_t number = next_memory_++;
  std::shared_ptr<MappedMemory> memory;
  agree(*control_, "allocating shared memory", [&] { memory = world_.memory(number, bytes); });
  return std::make_unique<InProcessMemory>(std::move(memory), *control_);
}

void run_in_process(int world_size, Watchdog& watchdog, const std::function<void(Session&)>& body) {
  LOCKSTEP_CHECK(world_size >= 1, "world size {}", world_size);
  InProcessWorld world(world_size, watchdog);
  const auto run_rank = [&](int rank) {
    std::exception_ptr failure;
    try {
      InProcessSession session(world, rank);
      body(session);
    } catch (...) {
      failure = std::current_exception();
    }
    world.end_rank(failure);
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) threads.emplace_back(run_rank, rank);
  for (std::thread& thread : threads) thread.join();
  if (world.first_failure()) std::rethrow_exception(world.first_failure());
}

}  // namespace lockstep
