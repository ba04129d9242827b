#include "lockstep/distributed/comm/in_process/in_process_world.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "lockstep/core/base/error.h"

namespace lockstep {

InProcessChannel::InProcessChannel(InProcessWorld& world)
    : world_(world), posted_(static_cast<size_t>(world.size())) {}

int64_t InProcessChannel::post(int rank, Contribution contribution, std::string_view label) {
  const std::lock_guard lock(world_.mutex_);
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
  if (++operation.arrived == world_.size_) world_.changed_.notify_all();
  return number;
}

std::vector<Contribution> InProcessChannel::collect(int64_t number) {
  std::unique_lock lock(world_.mutex_);
  Operation& operation = operations_.at(number);  // stays where it is while others come and go
  const auto complete = [&] { return operation.arrived == world_.size_; };
  if (!complete()) {
    const Watchdog::Guard guard = world_.watchdog_.watch(operation.label);
    world_.changed_.wait(lock, [&] { return complete() || world_.ended_; });
  }
  if (!complete()) {
    throw_error(ExitCode::kInternal,
                "a rank has {} while others wait for it in '{}'",
                world_.first_failure_ ? "failed" : "ended",
                operation.label);
  }
  std::vector<Contribution> all = operation.contributions;
  if (++operation.collected == world_.size_) operations_.erase(number);
  return all;
}

MappedMemory::MappedMemory(int64_t bytes) : size_(static_cast<size_t>(bytes)) {
  void* address = mmap(nullptr,
                       std::max<size_t>(size_, 1),
                       PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS,
                       -1,
                       0);
  if (address == MAP_FAILED) {
    throw_error(ExitCode::kInputOutput,
                "no memory for {} bytes that the ranks would share. Set data.cache=stream",
                bytes);
  }
  address_ = static_cast<uint8_t*>(address);
}

MappedMemory::~MappedMemory() { munmap(address_, std::max<size_t>(size_, 1)); }

InProcessChannel& InProcessWorld::channel(int64_t number) {
  const std::lock_guard lock(mutex_);
  return channels_.try_emplace(number, *this).first->second;
}

std::shared_ptr<MappedMemory> InProcessWorld::memory(int64_t number, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<MappedMemory> memory = memories_[number].lock();
  if (!memory) memories_[number] = memory = std::make_shared<MappedMemory>(bytes);
  return memory;
}

void InProcessWorld::end_rank(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (!first_failure_) first_failure_ = std::move(failure);
  }
  changed_.notify_all();
}

}  // namespace lockstep
