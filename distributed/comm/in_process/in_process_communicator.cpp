#include "lockstep/distributed/comm/in_process/in_process_communicator.h"

#include <ATen/core/grad_mode.h>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// Which ranks have stopped taking part; shared by all channels of a world.
struct World {
  explicit World(int size) : world_size(size) {}
  const int world_size;
  std::mutex mutex;
  std::condition_variable changed;
  bool failed = false;  // a rank has thrown
  bool ended = false;   // a rank has returned
  std::exception_ptr first_failure;
};

struct Contribution {
  at::Tensor tensor;
  std::string bytes;
};

// The n-th operation of each rank meets the n-th operations of the others.
class Channel {
 public:
  explicit Channel(World& world) : world_(world), posted_(static_cast<size_t>(world.world_size)) {}

  int64_t post(int rank, Contribution contribution, std::string_view label) {
    const std::lock_guard lock(world_.mutex);
    const int64_t number = posted_[static_cast<size_t>(rank)]++;
    Operation& operation = operations_[number];
    if (operation.arrived == 0) {
      operation.label = label;
      operation.contributions.resize(posted_.size());
    }
    LOCKSTEP_CHECK(operation.label == label,
                   "rank {} is in '{}' while another is in '{}'",
                   rank,
                   label,
                   operation.label);
    operation.contributions[static_cast<size_t>(rank)] = std::move(contribution);
    if (++operation.arrived == world_.world_size) world_.changed.notify_all();
    return number;
  }

  // What every rank has posted, by rank.
  std::vector<Contribution> collect(int64_t number) {
    std::unique_lock lock(world_.mutex);
    Operation& operation = operations_.at(number);  // stays where it is while others come and go
    const auto complete = [&] { return operation.arrived == world_.world_size; };
    world_.changed.wait(lock, [&] { return complete() || world_.failed || world_.ended; });
    if (!complete()) {
      throw_error(ExitCode::kInternal,
                  "a rank has {} while others wait for it in '{}'",
                  world_.failed ? "failed" : "ended",
                  operation.label);
    }
    std::vector<Contribution> all = operation.contributions;
    if (++operation.collected == world_.world_size) operations_.erase(number);
    return all;
  }

 private:
  struct Operation {
    std::string label;
    std::vector<Contribution> contributions;
    int arrived = 0, collected = 0;
  };
  World& world_;
  std::vector<int64_t> posted_;  // operations so far, by rank
  std::map<int64_t, Operation> operations_;
};

class InProcessWork final : public PendingWork {
 public:
  InProcessWork(Channel& channel, int64_t number, at::Tensor tensor)
      : channel_(channel), number_(number), tensor_(std::move(tensor)) {}
  ~InProcessWork() override {
    if (done_ || std::uncaught_exceptions() > 0) return;
    try {
      wait();
    } catch (const std::exception&) {  // A lost peer: the next operation reports it.
    }
  }
  void wait() override {
    if (done_) return;
    done_ = true;
    const at::NoGradGuard no_grad;
    const std::vector<Contribution> all = channel_.collect(number_);
    at::Tensor sum = all.front().tensor.clone();
    for (size_t r = 1; r < all.size(); ++r) {
      LOCKSTEP_CHECK(all[r].tensor.sizes() == sum.sizes() && all[r].tensor.dtype() == sum.dtype(),
                     "rank {} sums another tensor than rank 0",
                     r);
      sum.add_(all[r].tensor);
    }
    tensor_.copy_(sum);
  }

 private:
  Channel& channel_;
  int64_t number_;
  at::Tensor tensor_;
  bool done_ = false;
};

class InProcessCommunicator final : public Communicator {
 public:
  InProcessCommunicator(World& world, Channel& channel, int rank)
      : world_(world), channel_(channel), rank_(rank) {}
  int rank() const override { return rank_; }
  int world_size() const override { return world_.world_size; }
  const char* backend() const override { return "in-process"; }
  std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                std::string_view label) override {
    const int64_t number = channel_.post(rank_, {tensor.detach().clone(), {}}, label);
    return std::make_unique<InProcessWork>(channel_, number, tensor.detach());
  }
  void broadcast(const at::Tensor& tensor, int root, std::string_view label) override {
    const at::NoGradGuard no_grad;
    const int64_t number = channel_.post(rank_, {tensor.detach().clone(), {}}, label);
    tensor.detach().copy_(channel_.collect(number)[static_cast<size_t>(root)].tensor);
  }

 private:
  World& world_;
  Channel& channel_;
  int rank_;
};

class InProcessControlChannel final : public ControlChannel {
 public:
  InProcessControlChannel(World& world, Channel& channel, int rank)
      : world_(world), channel_(channel), rank_(rank) {}
  int rank() const override { return rank_; }
  int world_size() const override { return world_.world_size; }
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

 private:
  World& world_;
  Channel& channel_;
  int rank_;
};

}  // namespace

void run_in_process(int world_size, const std::function<void(InProcessRank&)>& body) {
  LOCKSTEP_CHECK(world_size >= 1, "world size {}", world_size);
  World world(world_size);
  Channel gradients(world), statistics(world), control(world);
  const auto run_rank = [&](int rank) {
    try {
      InProcessRank self;
      self.rank = rank;
      self.world_size = world_size;
      self.gradients = std::make_unique<InProcessCommunicator>(world, gradients, rank);
      self.statistics = std::make_unique<InProcessCommunicator>(world, statistics, rank);
      self.control = std::make_unique<InProcessControlChannel>(world, control, rank);
      body(self);
      const std::lock_guard lock(world.mutex);
      world.ended = true;
    } catch (...) {
      const std::lock_guard lock(world.mutex);
      if (!world.failed) world.first_failure = std::current_exception();
      world.failed = true;
    }
    world.changed.notify_all();
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) threads.emplace_back(run_rank, rank);
  for (std::thread& thread : threads) thread.join();
  if (world.first_failure) std::rethrow_exception(world.first_failure);
}

}  // namespace lockstep
