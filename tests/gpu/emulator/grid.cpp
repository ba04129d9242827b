#include "tests/gpu/emulator/grid.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "tests/gpu/emulator/fiber.h"

namespace lockstep::emulator {
namespace {

enum class At { kNowhere, kBlockBarrier, kWarpBarrier, kEnd };

struct Thread {
  At at = At::kNowhere;
  int line = 0;  // of the barrier it waits at
  Fiber* fiber = nullptr;
  uint32_t mask = 0;   // of lanes that the warp's barrier waits for
  uint64_t value = 0;  // brought to it, and then taken from it
  int source_lane = 0;
  int warp_step = 0;
};

struct State {
  std::mt19937_64 random{1};
  int64_t launches = 0;
  std::string kernel;
  const std::function<void()>* body = nullptr;
  dim3 grid, block;
  uint3 block_index{};
  // Of the running block:
  std::vector<Thread> threads;
  std::vector<int> order;  // in which threads begin
  size_t begun = 0;
  std::vector<int> ready;  // paused, and free to go on
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
};
State state;

std::mutex one_grid_at_a_time;

Device chosen_device{.prepare_argument = [](void* /*bytes*/, size_t /*size*/) {},
                     .enqueue = [](const std::string& /*kernel*/,
                                   cudaStream_t /*stream*/,
                                   const std::function<void()>& work) { work(); }};

uint3 place(int number) {
  const auto n = static_cast<unsigned>(number);
  return {
      n % state.block.x, n / state.block.x % state.block.y, n / (state.block.x * state.block.y)};
}

Thread& running_thread() { return state.threads[static_cast<size_t>(running.now.thread)]; }

void set_running(int thread) {
  running.now.thread = thread;
  running.now.warp_step = running_thread().warp_step;
  running.thread_index = place(thread);
}

bool coin() { return (state.random() & 1) != 0; }

// A fiber runs threads to their ends, one after another, until one of them waits: it is then that
// thread's, until that has ended.
void fiber_body() {
  while (true) {
    while (state.begun < state.order.size() && (state.ready.empty() || coin())) {
      set_running(state.order[state.begun++]);
      running_thread().fiber = Fiber::running();
      (*state.body)();
      running_thread().at = At::kEnd;
    }
    state.idle.push_back(Fiber::running());
    Fiber::pause();
  }
}

// From a thread that waits: others run until it is free to go on.
void wait(At at, int line) {
  const int self = running.now.thread;
  running_thread().at = at;
  running_thread().line = line;
  Fiber::pause();
  set_running(self);
}

// The last lane has come: each takes what its source has brought.
void release_warp(int first, uint32_t mask) {
  std::array<uint64_t, kLanes> values{};
  const auto thread_at = [&](int lane) -> Thread& {
    return state.threads[static_cast<size_t>(first) + static_cast<size_t>(lane)];
  };
  const auto in_mask = [&](int lane) { return (mask >> lane & 1) != 0; };
  for (int l = 0; l < kLanes; ++l)
    if (in_mask(l)) values[static_cast<size_t>(l)] = thread_at(l).value;
  for (int l = 0; l < kLanes; ++l) {
    if (!in_mask(l)) continue;
    Thread& thread = thread_at(l);
    thread.value = values[static_cast<size_t>(thread.source_lane)];
    thread.at = At::kNowhere;
    ++thread.warp_step;
    if (first + l != running.now.thread) state.ready.push_back(first + l);
  }
}

// Whether all lanes of the running thread's mask stand at its barrier.
bool warp_is_complete(int first, uint32_t mask, int line) {
  for (int l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    const size_t number = static_cast<size_t>(first) + static_cast<size_t>(l);
    if (number >= state.threads.size()) fail("a warp's mask names a lane that the block lacks");
    const Thread& thread = state.threads[number];
    if (thread.at == At::kEnd) fail("a warp waits for a lane that has returned");
    if (thread.at != At::kWarpBarrier) return false;
    if (thread.line != line || thread.mask != mask)
      fail("lanes of a warp wait at different places or for different lanes");
  }
  return true;
}

void release_block() {
  int line = 0;
  for (size_t t = 0; t < state.threads.size(); ++t) {
    const Thread& thread = state.threads[t];
    set_running(static_cast<int>(t));
    if (thread.at == At::kWarpBarrier) fail("lanes wait for others that wait for the block");
    if (thread.at == At::kEnd) fail("a thread has returned before a barrier that others wait at");
    if (line != 0 && thread.line != line) fail("threads wait at different barriers");
    line = thread.line;
  }
  ++running.now.interval;
  for (size_t t = 0; t < state.threads.size(); ++t) {
    state.threads[t].at = At::kNowhere;
    state.ready.push_back(static_cast<int>(t));
  }
}

Fiber* idle_fiber() {
  if (state.idle.empty()) {
    state.fibers.push_back(std::make_unique<Fiber>(&fiber_body));
    return state.fibers.back().get();
  }
  Fiber* fiber = state.idle.back();
  state.idle.pop_back();
  return fiber;
}

// One more stretch of some thread. False: all have ended.
bool go_on() {
  const bool may_begin = state.begun < state.order.size();
  if (may_begin && (state.ready.empty() || coin())) {
    idle_fiber()->resume();
    return true;
  }
  if (state.ready.empty()) {
    const auto waits = [](const Thread& thread) { return thread.at != At::kEnd; };
    if (std::ranges::none_of(state.threads, waits)) return false;
    release_block();
  }
  const size_t chosen = state.random() % state.ready.size();
  std::swap(state.ready[chosen], state.ready.back());
  const int number = state.ready.back();
  state.ready.pop_back();
  state.threads[static_cast<size_t>(number)].fiber->resume();
  return true;
}

void run_block() {
  const size_t num_threads = size_t{state.block.x} * state.block.y * state.block.z;
  state.threads.assign(num_threads, {});
  state.order.resize(num_threads);
  std::iota(state.order.begin(), state.order.end(), 0);
  std::ranges::shuffle(state.order, state.random);
  state.begun = 0;
  running.block_began = ++running.now.interval;
  while (go_on()) {
  }
}

void check(const Launch& launch) {
  const auto& [grid, block, dynamic_shared_bytes, stream] = launch;
  const auto refuse = [&](const char* what) {
    state.threads.clear();
    fail(what);
  };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("a launch of no blocks");
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) refuse("too many blocks");
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) refuse("a block of no or too many threads");
  if (dynamic_shared_bytes != 0) refuse("shared memory of a launch's size, which is not emulated");
}

}  // namespace

void run_grid(const std::string& kernel,
              const Launch& launch,
              const std::function<void()>& thread) {
  const std::lock_guard lock(one_grid_at_a_time);
  ++state.launches;
  state.kernel = kernel;
  state.body = &thread;
  state.grid = launch.grid;
  state.block = launch.block;
  check(launch);
  std::vector<uint64_t> blocks(uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  std::iota(blocks.begin(), blocks.end(), uint64_t{0});
  std::ranges::shuffle(blocks, state.random);
  for (const uint64_t b : blocks) {
    state.block_index = {static_cast<unsigned>(b % launch.grid.x),
                         static_cast<unsigned>(b / launch.grid.x % launch.grid.y),
                         static_cast<unsigned>(b / (uint64_t{launch.grid.x} * launch.grid.y))};
    run_block();
  }
}

void set_device(const Device& device) { chosen_device = device; }
const Device& device() { return chosen_device; }

void set_seed(uint64_t seed) { state.random.seed(seed); }
int64_t num_launches() { return state.launches; }

uint3 block_index() { return state.block_index; }
dim3 block_size() { return state.block; }
dim3 grid_size() { return state.grid; }

void wait_for_block(int line) { wait(At::kBlockBarrier, line); }

uint64_t exchange_in_warp(int line, uint32_t mask, uint64_t value, int source_lane) {
  const int first = running.now.thread / kLanes * kLanes;
  if ((mask >> lane() & 1) == 0) fail("a lane waits for others without being in the mask");
  if (source_lane < 0 || source_lane >= kLanes || (mask >> source_lane & 1) == 0)
    fail("a lane reads from one that is not in the mask");
  Thread& self = running_thread();
  self.at = At::kWarpBarrier;
  self.line = line;
  self.mask = mask;
  self.value = value;
  self.source_lane = source_lane;
  if (warp_is_complete(first, mask, line)) {
    release_warp(first, mask);
    set_running(running.now.thread);
  } else {
    wait(At::kWarpBarrier, line);
  }
  return self.value;
}

void fail(const std::string& what) {
  const auto text = [](const auto& p) {
    return "(" + std::to_string(p.x) + ", " + std::to_string(p.y) + ", " + std::to_string(p.z) +
           ")";
  };
  const std::string at = state.threads.empty() ? ""
                                               : ", block " + text(state.block_index) +
                                                     ", thread " + text(running.thread_index);
  std::fprintf(stderr, "emulator: %s%s: %s\n", state.kernel.c_str(), at.c_str(), what.c_str());
  std::abort();
}

}  // namespace lockstep::emulator
