#include "lockstep/core/nn/channel_concatenation.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {
namespace {

constexpr auto kNhwc = at::MemoryFormat::ChannelsLast;

StepContext training() {
  StepContext context;
  context.training = true;
  return context;
}

// y = make(5 channels, 24 channels), and both gradients of a loss that weighs each of its values
// differently.
template <typename Make>
std::vector<at::Tensor> outcome(Make&& make) {
  torch::manual_seed(7);
  std::vector<at::Tensor> inputs;
  for (const int64_t channels : {5, 24})
    inputs.push_back(torch::randn({3, channels, 4, 6}).contiguous(kNhwc).requires_grad_());
  const at::Tensor y = make(inputs[0], inputs[1]);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({3, 29, 4, 6}));
  const at::Tensor weights = torch::randn({3, 29, 4, 6}).contiguous(kNhwc);
  (y * weights).sum().backward();
  return {y.detach(), inputs[0].grad(), inputs[1].grad()};
}

TEST(ChannelConcatenation, EqualsConcatenation) {
  BatchNorm first(5), second(24);
  const auto copied = outcome([&](const at::Tensor& a, const at::Tensor& b) {
    return at::cat({first.forward(a, training(), {.relu = true}),
                    second.forward(b, training(), {.relu = true})},
                   1);
  });
  const auto joined = outcome([&](const at::Tensor& a, const at::Tensor& b) {
    ChannelConcatenation output(a, 29);
    const at::Tensor ya = first.forward(a, training(), {.relu = true, .into = output.next(5)});
    const at::Tensor yb = second.forward(b, training(), {.relu = true, .into = output.next(24)});
    return output.join({ya, yb});
  });
  for (size_t i = 0; i < copied.size(); ++i) EXPECT_TRUE(at::equal(copied[i], joined[i])) << i;
}

// Its backward only takes slices, which autograd follows: with branches of torch's own.
TEST(ChannelConcatenation, HasTheSecondDerivativeOfConcatenation) {
  const auto second_derivative = [](bool joined) {
    torch::manual_seed(3);
    const at::Tensor a = torch::randn({2, 4, 3, 3}).contiguous(kNhwc).requires_grad_();
    const at::Tensor b = torch::randn({2, 8, 3, 3}).contiguous(kNhwc).requires_grad_();
    ChannelConcatenation output(a, 12);
    // The branches' values lie in the slices; what autograd follows are the leaves.
    std::vector<at::Tensor> branches;
    for (const at::Tensor& leaf : {a, b}) {
      const at::Tensor slice = output.next(leaf.size(1));
      const at::NoGradGuard no_grad;
      slice.copy_(leaf);
      leaf.set_data(slice);
      branches.push_back(leaf);
    }
    const at::Tensor y = joined ? output.join(branches) : at::cat(branches, 1);
    const auto first = torch::autograd::grad({y.pow(3).sum()}, {a, b}, {}, true, true);
    return torch::autograd::grad({first[0].sum() + first[1].sum()}, {a, b});
  };
  const auto expected = second_derivative(false), found = second_derivative(true);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(found[i], expected[i])) << i;
}

TEST(ChannelConcatenation, GivesItsBranchesSlicesOfOneTensor) {
  const at::Tensor like = torch::zeros({2, 7, 3, 3}, at::kBFloat16);
  ChannelConcatenation output(like, 12);
  const at::Tensor a = output.next(4), b = output.next(8);
  EXPECT_EQ(a.sizes(), at::IntArrayRef({2, 4, 3, 3}));
  EXPECT_EQ(b.storage_offset(), 4);
  a.fill_(1);
  b.fill_(2);
  const at::Tensor y = output.join({a, b});
  EXPECT_EQ(y.const_data_ptr(), a.const_data_ptr());
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(y.is_contiguous(kNhwc));
  EXPECT_EQ(y.sum().item<float>(), 2 * 9 * (4 * 1 + 8 * 2));
}

}  // namespace
}  // namespace lockstep
