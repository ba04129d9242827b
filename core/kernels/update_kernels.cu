#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "lockstep/core/kernels/launch_size.cuh"
#include "lockstep/core/kernels/packs.cuh"
#include "lockstep/core/kernels/update_kernels_cuda.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;  // elements of a thread, moved at once

__global__ void decide(DecideUpdate decision) { decision.write(); }

__global__ void __launch_bounds__(kThreads)
    move_statistics(RunningStatistics statistics, const float* skip) {
  if (skip && *skip != 0) return;
  const int64_t thread = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  const int64_t step = gridDim.x * static_cast<int64_t>(kThreads);
  for (int64_t i = thread; i < statistics.channels; i += step) statistics.move_channel(i);
  for (int64_t i = thread; i < statistics.layers; i += step) ++statistics.batches[i];
}

// Not packs.cuh's: what is read here is written, too.
__device__ void load(const float* from, int64_t at, float (&out)[kWidth]) {
  const float4 pack = *reinterpret_cast<const float4*>(from + at);
  out[0] = pack.x;
  out[1] = pack.y;
  out[2] = pack.z;
  out[3] = pack.w;
}

// A rule's numbers for the whole update, and what it does to a pack: apply(at, decay, weights,
// gradients) changes the weights and the rule's own memory.
struct Sgd {
  SgdRule rule;
  float rate;

  __device__ Sgd(const SgdRule& of, float learning_rate) : rule(of), rate(learning_rate) {}
  __device__ void apply(int64_t at, float decay, float (&w)[kWidth], float (&g)[kWidth]) const {
    const auto factor = static_cast<float>(rule.factor);
    float m[kWidth] = {};
    if (rule.momentum) load(rule.momentum, at, m);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      g[i] += decay * w[i];
      m[i] = factor * m[i] + g[i];
      const float moved = !rule.momentum ? g[i] : rule.nesterov ? g[i] + factor * m[i] : m[i];
      w[i] -= rate * moved;
    }
    if (rule.momentum) store<float>(rule.momentum, at, m);
  }
};

struct AdamW {
  AdamWRule rule;
  float rate, step_size, root_of_correction;

  __device__ AdamW(const AdamWRule& of, float learning_rate) : rule(of), rate(learning_rate) {
    const double step = *rule.step;
    step_size = static_cast<float>(rate / (1.0 - pow(rule.beta1, step)));
    root_of_correction = static_cast<float>(sqrt(1.0 - pow(rule.beta2, step)));
  }
  __device__ void apply(int64_t at, float decay, float (&w)[kWidth], float (&g)[kWidth]) const {
    const auto beta1 = static_cast<float>(rule.beta1), beta2 = static_cast<float>(rule.beta2);
    const auto epsilon = static_cast<float>(rule.epsilon);
    const auto rest1 = static_cast<float>(1.0 - rule.beta1);
    const auto rest2 = static_cast<float>(1.0 - rule.beta2);
    float m[kWidth], v[kWidth];
    load(rule.exp_avg, at, m);
    load(rule.exp_avg_sq, at, v);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      w[i] -= rate * decay * w[i];
      m[i] = beta1 * m[i] + rest1 * g[i];
      v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
      w[i] -= step_size * m[i] / (sqrtf(v[i]) / root_of_correction + epsilon);
    }
    store<float>(rule.exp_avg, at, m);
    store<float>(rule.exp_avg_sq, at, v);
  }
};

template <typename Rule, typename Given>
__global__ void __launch_bounds__(kThreads) update_all(FlatUpdate update, Given given) {
  if (*update.skip != 0) return;
  const Rule rule(given, *update.rate);
  const float divisor = *update.divisor;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kWidth;
  for (int64_t at = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) * kWidth;
       at < update.n;
       at += step) {
    const UpdateRun run = update.runs[at / kRunLength];
    if (run == UpdateRun::kLeaves) continue;
    float w[kWidth], g[kWidth];
    load(update.master, at, w);
    load(update.gradient, at, g);
    for (float& each : g) each /= divisor;
    const double decay = run == UpdateRun::kUpdatesWithDecay ? update.weight_decay : 0.0;
    rule.apply(at, static_cast<float>(decay), w, g);
    store<float>(update.master, at, w);
    if (update.shadow) store<__nv_bfloat16>(update.shadow, at, w);
  }
}

template <typename Rule, typename Given>
void launch(const FlatUpdate& update, const Given& given, void* stream) {
  const unsigned blocks = blocks_for(update.n / kWidth, kThreads);
  update_all<Rule><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(update, given);
}

}  // namespace

void decide_update(const DecideUpdate& decision, void* stream) {
  decide<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(decision);
}

void move_running_statistics(const RunningStatistics& statistics, const float* skip, void* stream) {
  const unsigned blocks = blocks_for(statistics.channels, kThreads);
  move_statistics<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(statistics, skip);
}

void update_by_sgd(const FlatUpdate& update, const SgdRule& rule, void* stream) {
  launch<Sgd>(update, rule, stream);
}

void update_by_adamw(const FlatUpdate& update, const AdamWRule& rule, void* stream) {
  launch<AdamW>(update, rule, stream);
}

}  // namespace lockstep::kernels::cuda
