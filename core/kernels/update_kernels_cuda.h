// CUDA kernels of an update: plain device memory, no LibTorch. `stream` is a cudaStream_t. Each
// function is one launch.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/running_statistics.h"
#include "lockstep/core/kernels/update_formulas.h"

namespace lockstep::kernels::cuda {

void decide_update(const DecideUpdate& decision, void* stream);

// Moves all channels and counts a batch of each layer; nothing where `skip` (one value;
// nullptr: 0) is not 0.
void move_running_statistics(const RunningStatistics& statistics, const float* skip, void* stream);

// What an update does to kRunLength neighbouring elements of flat memory.
enum class UpdateRun : uint8_t { kLeaves, kUpdates, kUpdatesWithDecay };
constexpr int64_t kRunLength = 64;

// What all rules share: flat memory of n float32 elements, n a multiple of kRunLength.
struct FlatUpdate {
  int64_t n;
  const UpdateRun* runs;  // [n / kRunLength]
  float* master;
  const float* gradient;  // a sum
  void* shadow;           // bfloat16, becomes the new master's; null: there is none
  double weight_decay;
  // One value each: the rate, what the gradient is divided by, and 1 where nothing changes, else 0.
  const float *rate, *divisor, *skip;
};

// torch.optim.SGD with dampening 0; coupled weight decay. momentum: [n]; null: there is none.
struct SgdRule {
  float* momentum;
  double factor;
  bool nesterov;
};
void update_by_sgd(const FlatUpdate& update, const SgdRule& rule, void* stream);

// torch.optim.AdamW (Loshchilov and Hutter 2019, algorithm 2; decoupled weight decay).
struct AdamWRule {
  float *exp_avg, *exp_avg_sq;  // [n]
  const float* step;            // [1]: the number of this update, from 1 on
  double beta1, beta2, epsilon;
};
void update_by_adamw(const FlatUpdate& update, const AdamWRule& rule, void* stream);

}  // namespace lockstep::kernels::cuda
