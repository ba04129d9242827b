// Random masks on a GPU against the host's. Without a GPU every case is skipped by name.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "lockstep/core/nn/dropout.h"
#include "lockstep/core/nn/stochastic_depth.h"
#ifdef LOCKSTEP_WITH_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace lockstep {
namespace {

class GpuDropout : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
  }
};

StepContext training(int64_t step, int64_t first_position) {
  StepContext context;
  context.training = true;
  context.seed = (uint64_t{9} << 32) + 5;
  context.step = step;
  context.first_position = first_position;
  return context;
}

// Equal down to the sign of a zero, in values and strides.
void expect_same_bits(const at::Tensor& on_gpu, const at::Tensor& on_host) {
  ASSERT_TRUE(on_gpu.is_cuda());
  const at::Tensor copy = on_gpu.cpu();
  ASSERT_EQ(copy.scalar_type(), on_host.scalar_type());
  ASSERT_EQ(copy.sizes(), on_host.sizes());
  ASSERT_EQ(copy.strides(), on_host.strides());
  ASSERT_TRUE(on_host.is_non_overlapping_and_dense());
  if (copy.numel() == 0) return;
  EXPECT_EQ(std::memcmp(copy.const_data_ptr(), on_host.const_data_ptr(), copy.nbytes()), 0);
}

TEST_F(GpuDropout, MasksEqualTheHostsBitForBit) {
  const std::vector<std::vector<int64_t>> shapes{{1, 1},
                                                 {5, 3},
                                                 {3, 4},
                                                 {7, 1023},
                                                 {2, 3, 5, 7},
                                                 {300, 1, 1, 1},
                                                 {64},
                                                 {0, 5},
                                                 {4, 0},
                                                 {1100, 4099}};  // more draws than threads
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble, at::kByte}) {
    for (const RandomUse use : {RandomUse::kDropout, RandomUse::kStochasticDepth}) {
      for (const int64_t first_position : {0, 13}) {
        for (const auto& sizes : shapes) {
          SCOPED_TRACE(testing::Message()
                       << dtype << ' ' << at::IntArrayRef(sizes) << " from " << first_position);
          const auto mask = [&](at::Device device) {
            return random_mask(sizes,
                               at::device(device).dtype(dtype),
                               {use, 2, 0.3},
                               training(40, first_position));
          };
          expect_same_bits(mask(at::kCUDA), mask(at::kCPU));
        }
      }
    }
  }
}

using Operation = std::function<at::Tensor(const at::Tensor& x)>;

// y = operation(x) and dx for a given dy, on a GPU and on the host.
void expect_same_passes(const at::Tensor& x, const Operation& operation) {
  const at::Tensor dy =
      torch::randn(x.sizes()).to(x.options()).contiguous(x.suggest_memory_format());
  const auto passes = [&](at::Device device) {
    const at::Tensor leaf = x.clone().to(device).requires_grad_(true);
    const at::Tensor y = operation(leaf);
    y.backward(dy.to(device));
    return std::pair{y.detach(), leaf.grad()};
  };
  const auto gpu = passes(at::kCUDA), host = passes(at::kCPU);
  expect_same_bits(gpu.first, host.first);
  expect_same_bits(gpu.second, host.second);
}

TEST_F(GpuDropout, DropoutAndStochasticDepthEqualTheHostsBitForBit) {
  torch::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      SCOPED_TRACE(testing::Message() << dtype << ' ' << format);
      const at::Tensor x = torch::randn({6, 5, 7, 3}).to(dtype).contiguous(format);
      expect_same_passes(x,
                         [](const at::Tensor& in) { return dropout(in, 0.3, 1, training(7, 21)); });
      expect_same_passes(
          x, [](const at::Tensor& in) { return stochastic_depth(in, 0.3, 1, training(7, 21)); });
    }
  }
}

#ifdef LOCKSTEP_WITH_CUDA
// Capturing fails at anything that waits for the device or leaves the current stream.
TEST_F(GpuDropout, CanBeCaptured) {
  const at::Tensor x = torch::randn({7, 1023});
  const c10::cuda::CUDAStreamGuard stream(c10::cuda::getStreamFromPool());
  const at::Tensor on_gpu = x.to(at::kCUDA);
  dropout(on_gpu, 0.5, 0, training(0, 0));  // Kernels load when first launched.
  at::cuda::CUDAGraph graph;
  graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  at::Tensor y = dropout(on_gpu, 0.5, 0, training(3, 5));
  graph.capture_end();
  graph.replay();
  expect_same_bits(y, dropout(x, 0.5, 0, training(3, 5)));
}
#endif

}  // namespace
}  // namespace lockstep
