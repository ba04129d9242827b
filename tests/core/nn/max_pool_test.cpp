#include "lockstep/core/nn/max_pool.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "tests/core/nn/instruction_sets.h"

namespace lockstep {
namespace {

constexpr auto kLast = at::MemoryFormat::ChannelsLast;

// Values with many ties, so that the rule for equals shows.
at::Tensor image(const std::vector<int64_t>& sizes, at::ScalarType dtype) {
  torch::manual_seed(3);
  return torch::randint(-3, 4, sizes).to(dtype).contiguous(kLast);
}

at::Tensor aten(const at::Tensor& x, const MaxPoolOptions& o) {
  return at::max_pool2d(x, o.size, o.stride, o.padding, 1, o.ceil_mode);
}

const std::vector<MaxPoolOptions> kAllOptions{
    {.size = 2, .stride = 2},
    {.size = 3, .stride = 1, .padding = 1},
    {.size = 3, .stride = 2, .ceil_mode = true},
    {.size = 3, .stride = 2, .padding = 1},
    {.size = 2, .stride = 3, .padding = 1, .ceil_mode = true},
    {.size = 5, .stride = 2, .padding = 2, .ceil_mode = true}};

class MaxPool : public EachInstructionSet {};
INSTANTIATE_TEST_SUITE_P(EachInstructionSet, MaxPool, instruction_sets(), instruction_set_name);

TEST_P(MaxPool, EqualsAtensBitForBit) {
  for (const MaxPoolOptions& options : kAllOptions) {
    for (const int64_t channels : {2, 16, 37}) {
      for (const int64_t height : {5, 8, 9}) {
        for (const auto dtype : {at::kFloat, at::kBFloat16}) {
          const std::vector<int64_t> sizes{3, channels, height, 7};
          const at::Tensor x = image(sizes, dtype).requires_grad_();
          const at::Tensor y = max_pool(x, options);
          // In float32 either way: ATen sums bfloat16 gradients in steps of its own.
          const at::Tensor x32 = x.detach().to(at::kFloat).requires_grad_();
          const at::Tensor expected = aten(x32, options);
          ASSERT_EQ(y.sizes(), expected.sizes());
          ASSERT_TRUE(y.is_contiguous(kLast));
          ASSERT_TRUE(at::equal(y.to(at::kFloat), expected))
              << options.size << ' ' << options.stride << ' ' << channels << ' ' << height;
          const at::Tensor dy = torch::randn(y.sizes()).to(dtype);
          y.backward(dy);
          expected.backward(dy.to(at::kFloat));
          ASSERT_TRUE(at::equal(x.grad(), x32.grad().to(dtype)))
              << options.size << ' ' << options.stride << ' ' << channels << ' ' << height;
        }
      }
    }
  }
}

TEST_P(MaxPool, BesideItsInputAddsBothGradients) {
  for (const MaxPoolOptions& options : kAllOptions) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = image({3, 37, 8, 7}, dtype).requires_grad_();
      const auto [y, same] = max_pool_beside(x, options);
      const at::Tensor exact = x.detach().to(at::kDouble).requires_grad_();
      const at::Tensor expected = aten(exact, options);
      ASSERT_TRUE(at::equal(same, x));
      ASSERT_TRUE(at::equal(y.to(at::kDouble), expected));
      const at::Tensor dy = torch::randn(y.sizes()).to(dtype),
                       dx = torch::randn(x.sizes()).to(dtype);
      torch::autograd::backward({y, same}, {dy, dx});
      torch::autograd::backward({expected, exact}, {dy.to(at::kDouble), dx.to(at::kDouble)});
      const double unit = dtype == at::kFloat ? 1e-5 : 0x1p-8;
      EXPECT_TRUE(at::allclose(x.grad().to(at::kDouble), exact.grad(), unit, unit));
    }
  }
}

TEST_P(MaxPool, LetsNanAndInfinityThrough) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    at::Tensor x = image({1, 20, 6, 6}, dtype);
    x[0][3][2][2] = std::numeric_limits<float>::quiet_NaN();
    x[0][19][0][0] = -std::numeric_limits<float>::quiet_NaN();
    x[0][5] = -std::numeric_limits<float>::infinity();
    x[0][6][4][4] = std::numeric_limits<float>::infinity();
    x[0][7] = 1e-39;  // below the smallest normal number
    for (const MaxPoolOptions& options : kAllOptions) {
      const at::Tensor ours = x.clone().requires_grad_();
      const at::Tensor theirs = x.clone().to(at::kFloat).requires_grad_();
      const at::Tensor y = max_pool(ours, options), expected = aten(theirs, options);
      EXPECT_TRUE(at::allclose(y.to(at::kFloat), expected, 0, 0, /*equal_nan=*/true));
      y.backward(at::ones_like(y));
      expected.backward(at::ones_like(expected));
      EXPECT_TRUE(at::equal(ours.grad().to(at::kFloat), theirs.grad()));
    }
  }
}

TEST_P(MaxPool, TakesOneImageAndOneWindow) {
  const at::Tensor x = image({1, 24, 3, 3}, at::kFloat).requires_grad_();
  const at::Tensor other = x.detach().clone().requires_grad_();
  const MaxPoolOptions whole{.size = 3, .stride = 3};
  const at::Tensor y = max_pool(x, whole), expected = aten(other, whole);
  ASSERT_TRUE(at::equal(y, expected));
  y.sum().backward();
  expected.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), other.grad()));
}

TEST_P(MaxPool, TakesAnEmptyBatch) {
  const at::Tensor x = torch::zeros({0, 16, 8, 8}).contiguous(kLast).requires_grad_();
  const at::Tensor y = max_pool(x, {.size = 3, .stride = 2});
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{0, 16, 3, 3}));
  y.sum().backward();
  EXPECT_EQ(x.grad().sizes(), x.sizes());
}

TEST(MaxPoolElsewhere, RefusesASecondDerivative) {
  const at::Tensor x = torch::randn({2, 16, 8, 8}).contiguous(kLast).requires_grad_();
  const at::Tensor y = max_pool(x, {.size = 3, .stride = 2});
  try {
    torch::autograd::grad(
        {y.square().sum()}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
  }
}

TEST(MaxPoolElsewhere, IsAtensForOtherLayoutsAndTypes) {
  const MaxPoolOptions options{.size = 3, .stride = 2, .padding = 1};
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor x = torch::randn({2, 5, 9, 9}).to(dtype);
    EXPECT_TRUE(at::equal(max_pool(x, options), aten(x, options)));
  }
}

}  // namespace
}  // namespace lockstep
