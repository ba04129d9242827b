// Where the threads of run_in_process meet.
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// What one rank brings to an operation.
struct Contribution {
  at::Tensor tensor;
  std::string bytes;
};

class InProcessWorld;

// The n-th operation of each rank meets the n-th operations of the others.
class InProcessChannel {
 public:
  explicit InProcessChannel(InProcessWorld& world);
  // Returns the operation's number. Throws when the others stand in another operation.
  int64_t post(int rank, Contribution contribution, std::string_view label);
  // What every rank has posted, by rank; waits for it. Throws when a rank will not come.
  std::vector<Contribution> collect(int64_t number);

 private:
  struct Operation {
    std::string label;
    std::vector<Contribution> contributions;
    int arrived = 0, collected = 0;
  };
  InProcessWorld& world_;
  std::vector<int64_t> posted_;  // operations so far, by rank
  std::map<int64_t, Operation> operations_;
};

// A range of this process's memory, zeroed.
class MappedMemory {
 public:
  explicit MappedMemory(int64_t bytes);  // throws Error(kInputOutput)
  ~MappedMemory();
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;
  std::span<uint8_t> bytes() const { return {address_, size_}; }

 private:
  uint8_t* address_ = nullptr;
  size_t size_ = 0;
};

// What the ranks share. A channel or a memory has the number of its making, which all ranks count
// alike.
class InProcessWorld {
 public:
  InProcessWorld(int size, Watchdog& watchdog) : size_(size), watchdog_(watchdog) {}
  int size() const { return size_; }
  Watchdog& watchdog() { return watchdog_; }
  InProcessChannel& channel(int64_t number);
  std::shared_ptr<MappedMemory> memory(int64_t number, int64_t bytes);

  // A rank has returned, or has thrown.
  void end_rank(std::exception_ptr failure);
  std::exception_ptr first_failure() const { return first_failure_; }

 private:
  friend class InProcessChannel;
  const int size_;
  Watchdog& watchdog_;
  std::mutex mutex_;  // guards what follows, channels' operations included
  std::condition_variable changed_;
  bool ended_ = false;  // a rank has left, well or not
  std::exception_ptr first_failure_;
  std::map<int64_t, InProcessChannel> channels_;
  std::map<int64_t, std::weak_ptr<MappedMemory>> memories_;
};

class InProcessSession final : public Session {
 public:
  InProcessSession(InProcessWorld& world, int rank);
  const Topology& topology() const override { return topology_; }
  Watchdog& watchdog() override { return world_.watchdog(); }
  ControlChannel& control() override { return *control_; }
  std::string library_version() const override { return "threads of one process"; }
  std::unique_ptr<SharedMemory> share_memory(int64_t bytes) override;

  InProcessChannel& make_channel() { return world_.channel(next_channel_++); }

 private:
  InProcessWorld& world_;
  Topology topology_;
  int64_t next_channel_ = 0, next_memory_ = 0;
  std::unique_ptr<ControlChannel> control_;
};

}  // namespace lockstep
