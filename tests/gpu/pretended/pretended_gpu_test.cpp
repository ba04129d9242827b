// The pretended GPU itself: what a program must not do to a GPU is caught here.
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>

#include "tests/gpu/pretended/counts.h"

namespace lockstep::pretended {
namespace {

// Before the first work: queues begin late, so that what does not wait for them shows.
const bool is_late = setenv("LOCKSTEP_PRETENDED_DELAY_US", "300", /*replace=*/1) == 0;

at::Tensor on_gpu(int64_t size, float value) {
  return torch::full({size}, value, torch::device(torch::kCUDA));
}

TEST(PretendedGpu, ComputesWithLibTorchsOperators) {
  torch::manual_seed(1);
  const at::Tensor a = torch::randn({5, 7}), b = torch::randn({7, 3});
  const at::Tensor product = at::mm(a.cuda(), b.cuda()).relu();
  EXPECT_TRUE(product.is_cuda());
  EXPECT_TRUE(at::equal(product.cpu(), at::mm(a, b).relu()));
  at::Tensor view = on_gpu(12, 1.0f).view({3, 4}).t();
  view.select(0, 1).add_(2.0);
  EXPECT_EQ(view.sum().item<float>(), 12 + 3 * 2);
}

TEST(PretendedGpuDeathTest, HostCannotTouchDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const at::Tensor tensor = on_gpu(4, 1.0f);
  const auto* values = static_cast<const volatile float*>(tensor.const_data_ptr());
  EXPECT_DEATH((void)values[0], "");
}

TEST(PretendedGpuDeathTest, CatchesCopiesBeyondAnAllocation) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 1000), cudaSuccess);
  char bytes[2000] = {};
  EXPECT_DEATH(cudaMemcpy(bytes, memory, 1001, cudaMemcpyDeviceToHost), "is not allocated");
  EXPECT_DEATH(cudaMemcpy(bytes, memory, 10, cudaMemcpyHostToDevice), "of other memory");
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_DEATH(cudaFree(memory), "cudaFree of what is not allocated");
}

// How often a copy on another stream sees the numbers that the current stream computes.
int times_seen(bool waits) {
  const auto other = c10::cuda::getStreamFromPool();
  at::Tensor host = torch::zeros({4}, torch::TensorOptions().pinned_memory(true));
  int seen = 0;
  for (int attempt = 0; attempt < 50; ++attempt) {
    const at::Tensor x = on_gpu(4, 1.0f) + 1.0;
    at::cuda::CUDAEvent computed;
    if (waits) {
      computed.record();
      computed.block(other);
    }
    {
      const c10::cuda::CUDAStreamGuard guard(other);
      host.copy_(x, /*non_blocking=*/true);
    }
    other.synchronize();
    seen += at::equal(host, torch::full({4}, 2.0f)) ? 1 : 0;
  }
  return seen;
}

TEST(PretendedGpu, StreamsThatDoNotWaitSeePoison) {
  ASSERT_TRUE(is_late);
  EXPECT_LT(times_seen(/*waits=*/false), 50);
  EXPECT_EQ(times_seen(/*waits=*/true), 50);
}

// y = (x + 1) * 2, then in place and by another stream z = y + 10: all of it anew for each x.
TEST(PretendedGpu, ReplaysACapture) {
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const auto other = c10::cuda::getStreamFromPool(/*isHighPriority=*/true);
  const at::Tensor x = on_gpu(4, 1.0f);
  at::Tensor sum = on_gpu(1, 100.0f), z;
  at::cuda::CUDAGraph graph;
  graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  const at::Tensor y = (x + 1.0).mul_(2.0);
  at::cuda::CUDAEvent forked, joined;
  forked.record();
  forked.block(other);
  {
    const c10::cuda::CUDAStreamGuard there(other);
    z = y + 10.0;
    joined.record();
  }
  sum.add_(y.sum());
  joined.block(c10::cuda::getCurrentCUDAStream());
  graph.capture_end();
  EXPECT_EQ(sum.item<float>(), 100.0f);  // recorded, not done
  reset_counts();
  for (const float value : {5.0f, 7.0f}) {
    x.fill_(value);
    graph.replay();
    EXPECT_TRUE(at::equal(z.cpu(), torch::full({4}, (value + 1) * 2 + 10)));
  }
  EXPECT_EQ(sum.item<float>(), 100.0f + 4 * 12 + 4 * 16);
  EXPECT_EQ(counts().by_name["graph"], 2);
}

TEST(PretendedGpu, RefusesACaptureThatWaitsOrIsNotJoined) {
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const auto other = c10::cuda::getStreamFromPool(/*isHighPriority=*/true);
  const at::Tensor x = on_gpu(4, 1.0f);
  at::cuda::CUDAGraph waits, forks;
  waits.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  EXPECT_THROW((void)x.sum().item<float>(), c10::Error);
  waits.capture_end();
  forks.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  at::cuda::CUDAEvent forked;
  forked.record();
  forked.block(other);
  {
    const c10::cuda::CUDAStreamGuard there(other);
    x.add_(1.0);
  }
  EXPECT_THROW(forks.capture_end(), c10::Error);
}

TEST(PretendedGpu, CountsWhatIsAskedOfIt) {
  const at::Tensor x = on_gpu(8, 1.0f);
  reset_counts();
  const at::Tensor y = x + x;
  EXPECT_EQ(counts().operations, 1);
  EXPECT_EQ(counts().synchronisations, 0);
  (void)y.sum().item<float>();
  EXPECT_EQ(counts().operations, 3);  // the sum and its copy
  EXPECT_GE(counts().synchronisations, 1);
  EXPECT_EQ(counts().bytes_to_host, 4);
}

}  // namespace
}  // namespace lockstep::pretended
