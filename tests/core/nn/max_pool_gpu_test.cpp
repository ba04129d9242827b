// Max pooling on a GPU against the host's, bit for bit. Without a GPU every case is skipped by
// name.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

#include "lockstep/core/nn/max_pool.h"

namespace lockstep {
namespace {

class GpuMaxPool : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
  }
};

TEST_F(GpuMaxPool, EqualsTheHosts) {
  constexpr auto kLast = at::MemoryFormat::ChannelsLast;
  torch::manual_seed(4);
  for (const MaxPoolOptions& options :
       std::vector<MaxPoolOptions>{{.size = 2, .stride = 2},
                                   {.size = 3, .stride = 3},
                                   {.size = 3, .stride = 1, .padding = 1, .ceil_mode = true},
                                   {.size = 3, .stride = 2, .padding = 1}}) {
    for (const int64_t channels : {3, 64}) {
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(testing::Message() << options.size << ", stride " << options.stride << ", "
                                        << channels << ' ' << dtype);
        const at::Tensor on_host = torch::randint(-9, 10, {40, channels, 31, 30})
                                       .to(dtype)
                                       .contiguous(kLast)
                                       .requires_grad_();
        const at::Tensor on_gpu = on_host.detach().cuda().requires_grad_();
        const auto [pooled, beside] = max_pool_beside(on_gpu, options);
        const auto [expected, expected_beside] = max_pool_beside(on_host, options);
        EXPECT_TRUE(at::equal(pooled.cpu(), expected));
        const at::Tensor dy = torch::randint_like(expected, -5, 6);
        (pooled * dy.cuda()).sum().backward();
        (expected * dy).sum().backward();
        EXPECT_TRUE(at::equal(on_gpu.grad().cpu(), on_host.grad()));
      }
    }
  }
}

}  // namespace
}  // namespace lockstep
