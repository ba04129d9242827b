// A warp has a row of logits.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "lockstep/core/kernels/last_block.cuh"
#include "lockstep/core/kernels/launch_size.cuh"
#include "lockstep/core/kernels/loss_kernels_cuda.h"
#include "lockstep/core/kernels/packs.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kThreads = 256;
constexpr int kRows = kThreads / kLanes;  // of a block at a time
constexpr int64_t kMostBlocks = 1024;
constexpr unsigned kAllLanes = 0xFFFFFFFF;

// The first of the largest.
struct Largest {
  float value;
  int64_t at;

  __device__ void meet(const Largest& other) {
    if (other.value > value || (other.value == value && other.at < at)) *this = other;
  }
};

__device__ Largest largest_of_warp(Largest mine) {
  for (int bits = kLanes / 2; bits > 0; bits /= 2) {
    const Largest other{__shfl_xor_sync(kAllLanes, mine.value, bits),
                        __shfl_xor_sync(kAllLanes, mine.at, bits)};
    mine.meet(other);
  }
  return mine;
}

__device__ float sum_of_warp(float mine) {
  for (int bits = kLanes / 2; bits > 0; bits /= 2) mine += __shfl_xor_sync(kAllLanes, mine, bits);
  return mine;
}

template <typename T>
struct Row {
  const T* logits;
  int64_t classes;

  __device__ Row(const Classification& task, int64_t row)
      : logits(static_cast<const T*>(task.logits) + row * task.classes), classes(task.classes) {}
  __device__ float operator[](int64_t c) const { return to_float(logits[c]); }

  // A row of NaN has its first class as the largest.
  __device__ Largest largest(int lane) const {
    Largest mine{lane < classes ? (*this)[lane] : -INFINITY, lane};
    for (int64_t c = lane + kLanes; c < classes; c += kLanes) mine.meet({(*this)[c], c});
    return largest_of_warp(mine);
  }
};

template <typename T>
__device__ void write_row(const Classification& task,
                          const ClassificationResults& results,
                          int64_t i,
                          int lane) {
  const Row<T> row(task, i);
  const Largest largest = row.largest(lane);
  float exponentials = 0, logits = 0;
  for (int64_t c = lane; c < task.classes; c += kLanes) {
    exponentials += expf(row[c] - largest.value);
    logits += row[c] - largest.value;
  }
  const float log_sum = logf(sum_of_warp(exponentials));
  // By label smoothing every class has its part of the truth.
  const auto smoothing = static_cast<float>(task.label_smoothing);
  const float mean = sum_of_warp(logits) / static_cast<float>(task.classes);
  const auto loss_of = [&](int64_t label) {
    const float truth = (1 - smoothing) * (row[label] - largest.value) + smoothing * mean;
    return log_sum - truth;
  };
  if (lane != 0) return;
  int64_t counted = task.labels[i];
  float loss = loss_of(counted);
  if (task.weights) {
    const int64_t second = task.second_labels[i];
    loss = task.weights[0] * loss + task.weights[1] * loss_of(second);
    if (task.weights[0] < task.weights[1]) counted = second;
  }
  results.losses[i] = loss;
  results.hits[i] = largest.at == counted ? 1.0f : 0.0f;
  results.log_sums[i] = largest.value + log_sum;
}

// By the last block alone; its threads add up every kThreads-th row each, then one another's.
__device__ void add_up(const Classification& task, const ClassificationResults& results) {
  __shared__ double losses[kThreads];
  __shared__ double hits[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  double loss = 0, hit = 0;
  for (int64_t i = thread; i < task.n; i += kThreads) {
    loss += __ldcg(results.losses + i);
    hit += __ldcg(results.hits + i);
  }
  losses[thread] = loss;
  hits[thread] = hit;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) {
      losses[thread] += losses[thread + half];
      hits[thread] += hits[thread + half];
    }
  }
  if (thread != 0) return;
  *results.loss = static_cast<float>(losses[0]);
  *results.correct = static_cast<float>(hits[0]);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    classify(Classification task, ClassificationResults results) {
  __shared__ int last;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t first = blockIdx.x * static_cast<int64_t>(kRows) + threadIdx.x / kLanes;
  for (int64_t i = first; i < task.n; i += gridDim.x * static_cast<int64_t>(kRows))
    write_row<T>(task, results, i, lane);
  if (is_last(results.ticket, gridDim.x, last)) add_up(task, results);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) differentiate(Classification task,
                                                          const float* log_sums,
                                                          const float* upstream,
                                                          void* gradient) {
  const float own = task.weights ? task.weights[0] : 1.0f;
  const float partner = task.weights ? task.weights[1] : 0.0f;
  const auto smoothing = static_cast<float>(task.label_smoothing);
  const float spread = smoothing / static_cast<float>(task.classes);
  const float sharp = 1 - smoothing, times = *upstream;
  const int64_t size = task.n * task.classes;
  const int64_t step = gridDim.x * static_cast<int64_t>(kThreads);
  for (int64_t at = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; at < size;
       at += step) {
    const int64_t i = at / task.classes, c = at - i * task.classes;
    const float logit = to_float(static_cast<const T*>(task.logits)[at]);
    float truth = c == task.labels[i] ? own : 0.0f;
    if (task.weights && c == task.second_labels[i]) truth += partner;
    const float slope = (own + partner) * (expf(logit - log_sums[i]) - spread) - sharp * truth;
    from_float(times * slope, static_cast<T*>(gradient) + at);
  }
}

}  // namespace

void cross_entropy(const Classification& task, const ClassificationResults& results, void* stream) {
  const unsigned blocks = blocks_for(task.n, kRows, kMostBlocks);
  const auto on = static_cast<cudaStream_t>(stream);
  if (task.bf16) {
    classify<__nv_bfloat16><<<blocks, kThreads, 0, on>>>(task, results);
  } else {
    classify<float><<<blocks, kThreads, 0, on>>>(task, results);
  }
}

void cross_entropy_gradient(const Classification& task,
                            const float* log_sums,
                            const float* upstream,
                            void* gradient,
                            void* stream) {
  const unsigned blocks = blocks_for(task.n * task.classes, kThreads, kMostBlocks);
  const auto on = static_cast<cudaStream_t>(stream);
  if (task.bf16) {
    differentiate<__nv_bfloat16><<<blocks, kThreads, 0, on>>>(task, log_sums, upstream, gradient);
  } else {
    differentiate<float><<<blocks, kThreads, 0, on>>>(task, log_sums, upstream, gradient);
  }
}

}  // namespace lockstep::kernels::cuda
