// The training loss on a GPU against the CPU's. Without a GPU every case is skipped by name.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/loss.h"

namespace lockstep {
namespace {

class GpuLoss : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
    torch::manual_seed(4);
  }
};

struct Outcome {
  at::Tensor loss, correct, gradient;
};

// Times 0.3, as an auxiliary head's.
Outcome outcome(const at::Tensor& given, bool mixed, double smoothing, at::Device device) {
  const at::Tensor logits = given.detach().to(device).requires_grad_();
  const at::Tensor labels = (at::arange(given.size(0)) * 7 % given.size(1)).to(device);
  const at::Tensor weights = at::tensor({0.3f, 0.7f}).to(device);
  const ClassificationSums sums =
      mixed ? mixed_cross_entropy_sums(logits, labels, labels.roll(1, 0), weights, smoothing)
            : cross_entropy_sums(logits, labels, smoothing);
  (0.3 * sums.loss).backward();
  return {sums.loss.detach().cpu(), sums.correct.cpu(), logits.grad().cpu()};
}

TEST_F(GpuLoss, EqualsTheCpus) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t n : {1, 33, 128}) {
      for (const bool mixed : {false, true}) {
        for (const double smoothing : {0.0, 0.1}) {
          // Not contiguous, as a slice of other heads' would be.
          const at::Tensor logits = (3 * at::randn({n, 20})).to(dtype).slice(1, 0, 20, 2);
          const Outcome expected = outcome(logits, mixed, smoothing, at::kCPU);
          const Outcome found = outcome(logits, mixed, smoothing, at::Device(at::kCUDA, 0));
          EXPECT_EQ(found.gradient.scalar_type(), dtype);
          // The CPU rounds the gradient of each label to bfloat16 before it adds both.
          const double tolerance = dtype == at::kBFloat16 ? 4e-3 : 1e-5;
          EXPECT_TRUE(at::allclose(found.loss, expected.loss, 1e-5, 1e-5));
          EXPECT_TRUE(at::equal(found.correct, expected.correct));
          EXPECT_TRUE(at::allclose(found.gradient, expected.gradient, tolerance, tolerance / 2));
        }
      }
    }
  }
}

TEST_F(GpuLoss, OfNoImagesIsZero) {
  const Outcome found = outcome(at::zeros({0, 10}), false, 0.1, at::Device(at::kCUDA, 0));
  EXPECT_EQ(found.loss.item<float>(), 0.0f);
  EXPECT_EQ(found.gradient.numel(), 0);
}

TEST_F(GpuLoss, RefusesASecondDerivative) {
  const at::Tensor logits = at::randn({3, 4}, at::TensorOptions(at::kCUDA)).requires_grad_();
  const at::Tensor labels = at::zeros({3}, logits.options().dtype(at::kLong).requires_grad(false));
  const at::Tensor loss = cross_entropy_sums(logits, labels, 0.0).loss;
  EXPECT_THROW(torch::autograd::grad({loss}, {logits}, {}, true, /*create_graph=*/true), Error);
}

}  // namespace
}  // namespace lockstep
