// Runs the threads of a launched grid on the host, in a random order that a seed repeats.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

namespace lockstep::emulator {

// What stands in <<< >>>.
struct Launch {
  dim3 grid, block;
  size_t dynamic_shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

// Blocks one after another, in random order. Within a block a thread runs until it waits (at a
// barrier of the block or of its warp) or returns; then another, chosen at random, goes on. What a
// GPU would answer with nonsense or a hang ends the process with one line that names kernel, block
// and thread: a launch out of bounds, threads at different barriers, a thread that returned before
// a barrier, lanes that wait for lanes that never come.
void run_grid(const std::string& kernel, const Launch& launch, const std::function<void()>& thread);

// Where kernels run: here and now unless a device is set, which gets the bytes of each argument (to
// change addresses in them), and the work, to do it in the order of its stream.
struct Device {
  void (*prepare_argument)(void* bytes, size_t size);
  void (*enqueue)(const std::string& kernel,
                  cudaStream_t stream,
                  const std::function<void()>& work);
};
void set_device(const Device& device);
const Device& device();

// The order of threads and blocks from here on.
void set_seed(uint64_t seed);
int64_t num_launches();

// --- For the running thread ---

uint3 block_index();
dim3 block_size();
dim3 grid_size();

void wait_for_block(int line);  // __syncthreads

constexpr int kLanes = 32;  // of a warp
// __syncwarp, __shfl_*_sync: waits for the lanes in `mask`; returns the value that `source_lane`
// has brought, which must be one of them.
uint64_t exchange_in_warp(int line, uint32_t mask, uint64_t value, int source_lane);

// Ends the process; `what` with the place of the running thread.
[[noreturn]] void fail(const std::string& what);

// When and by whom memory was touched: what two accesses need to know of each other.
struct Moment {
  int64_t interval = -1;  // counts, over all blocks ever run, the times between two barriers
  int warp_step = 0;      // and those between two barriers of the warp
  int thread = -1;
};

struct Running {
  Moment now;
  int64_t block_began = 0;  // its first interval
  uint3 thread_index{};
};
inline Running running;  // set by run_grid

inline uint3 thread_index() { return running.thread_index; }
inline int lane() { return running.now.thread % kLanes; }

// Whether nothing orders an access of another thread at `before` and the running thread's. Lanes of
// one warp are ordered by its own barriers too.
inline bool unordered(const Moment& before) {
  const Moment& now = running.now;
  if (before.interval != now.interval || before.thread == now.thread) return false;
  return before.thread / kLanes != now.thread / kLanes || before.warp_step == now.warp_step;
}

}  // namespace lockstep::emulator
