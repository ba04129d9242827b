// Kernels that are right, and the same with a fault that the emulator must catch.
#pragma once

namespace lockstep::emulator {

// Blocks of 64 threads. out[i] = in[i] + in[63 - i], through shared memory.
enum class Fault {
  kNone,
  kNoBarrier,         // between writing and reading shared memory
  kBarrierInABranch,  // that half of the threads do not take
  kEarlyReturn,       // of a thread before the barrier
  kSameElement,       // two threads write one element
  kOutOfBounds,       // a read one behind the shared array
  kNotWritten,        // a read of shared memory that nobody wrote
};
void mirror(Fault fault, const int* in, int* out);

// One warp. out[0..32] = Σ in[0..31] by shuffles; with the fault, one lane does not take part.
void warp_sum(bool lane_is_missing, const int* in, int* out);

// One warp, out[i] = in[31 - i] through shared memory with the warp's barrier, or without.
void warp_mirror(bool has_barrier, const int* in, int* out);

// `blocks` blocks of 32: partial sums of ones; the last block to finish adds them to out[0] =
// 32 * blocks. `partial`: [blocks], `counter`: [1], zero.
void last_block_sum(int blocks, int* partial, unsigned* counter, int* out);

// out[0] is what the thread that comes last writes: another in each order. Not a fault that the
// emulator sees, but one that different seeds show.
void race_in_global_memory(int* out);

}  // namespace lockstep::emulator
