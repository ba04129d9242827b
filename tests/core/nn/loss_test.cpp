#include "lockstep/core/nn/loss.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <vector>

namespace lockstep {
namespace {

struct Expected {
  double loss = 0.0;
  at::Tensor gradient;  // [N, classes] float64
};

// Cross entropy with label smoothing from its definition, in float64: the target puts
// 1 - smoothing on the label and smoothing / classes on every class; the gradient of a sample is
// softmax(logits) - target.
Expected from_definition(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  const at::Tensor z = logits.detach().to(at::kDouble);
  const int64_t num_classes = z.size(1);
  Expected expected{.loss = 0.0, .gradient = at::zeros_like(z)};
  for (int64_t n = 0; n < z.size(0); ++n) {
    double largest = -INFINITY;
    for (int64_t c = 0; c < num_classes; ++c) {
      largest = std::max(largest, z[n][c].item<double>());
    }
    double sum = 0.0;
    for (int64_t c = 0; c < num_classes; ++c) sum += std::exp(z[n][c].item<double>() - largest);
    for (int64_t c = 0; c < num_classes; ++c) {
      const double log_probability = z[n][c].item<double>() - largest - std::log(sum);
      const double target = smoothing / static_cast<double>(num_classes) +
                            (labels[n].item<int64_t>() == c ? 1.0 - smoothing : 0.0);
      expected.loss -= target * log_probability;
      expected.gradient[n][c] = std::exp(log_probability) - target;
    }
  }
  return expected;
}

TEST(Loss, EqualsTheDefinitionWithItsGradient) {
  torch::manual_seed(1);
  const at::Tensor labels = at::randint(10, {33}, at::kLong);
  for (const double smoothing : {0.0, 0.1, 0.5}) {
    const at::Tensor logits = (3 * at::randn({33, 10})).requires_grad_();
    const ClassificationSums sums = cross_entropy_sums(logits, labels, smoothing);
    sums.loss.backward();
    const Expected expected = from_definition(logits, labels, smoothing);
    EXPECT_EQ(sums.loss.dim(), 0);
    EXPECT_EQ(sums.loss.scalar_type(), at::kFloat);
    EXPECT_NEAR(sums.loss.item<double>(), expected.loss, 1e-5 * expected.loss) << smoothing;
    EXPECT_TRUE(at::allclose(logits.grad().to(at::kDouble), expected.gradient, 1e-5, 1e-6));
  }
}

TEST(Loss, ComputesInFloat32FromBfloat16Logits) {
  torch::manual_seed(2);
  const at::Tensor labels = at::randint(10, {2000}, at::kLong);
  const at::Tensor logits = at::randn({2000, 10}).to(at::kBFloat16).requires_grad_();
  const ClassificationSums sums = cross_entropy_sums(logits, labels, 0.1);
  sums.loss.backward();
  const Expected expected = from_definition(logits, labels, 0.1);
  EXPECT_EQ(sums.loss.scalar_type(), at::kFloat);
  // bfloat16 would keep 2 to 3 digits.
  EXPECT_NEAR(sums.loss.item<double>(), expected.loss, 1e-5 * expected.loss);
  EXPECT_EQ(logits.grad().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::allclose(logits.grad().to(at::kDouble), expected.gradient, 1e-2, 1e-3));
}

TEST(Loss, StaysFiniteForLargeLogits) {
  const at::Tensor logits = at::tensor({8e6f, -8e6f, 0.0f}).view({1, 3}).requires_grad_();
  const ClassificationSums sums = cross_entropy_sums(logits, at::tensor({int64_t{1}}), 0.0);
  sums.loss.backward();
  EXPECT_FLOAT_EQ(sums.loss.item<float>(), 1.6e7f);
  EXPECT_TRUE(at::allclose(logits.grad(), at::tensor({1.0f, -1.0f, 0.0f}).view({1, 3})));
}

TEST(Loss, OfSlicesAddsUpToTheLossOfTheWhole) {
  torch::manual_seed(4);
  const at::Tensor labels = at::randint(10, {30}, at::kLong);
  const at::Tensor logits = at::randn({30, 10});
  const ClassificationSums whole = cross_entropy_sums(logits, labels, 0.1);
  double loss = 0.0;
  double correct = 0.0;
  for (const auto& [begin, size] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 11}, {11, 0}, {11, 19}}) {
    const ClassificationSums part =
        cross_entropy_sums(logits.narrow(0, begin, size), labels.narrow(0, begin, size), 0.1);
    loss += part.loss.item<double>();
    correct += part.correct.item<double>();
  }
  EXPECT_NEAR(loss, whole.loss.item<double>(), 1e-4);
  EXPECT_EQ(correct, whole.correct.item<double>());
}

TEST(Loss, OfAnEmptySliceIsZeroAndLetsBackwardReachEveryParameter) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    torch::nn::Linear layer(5, 10);
    layer->to(dtype);
    const at::Tensor logits = layer->forward(at::zeros({0, 5}, dtype));
    const ClassificationSums sums =
        cross_entropy_sums(logits, at::zeros({0}, at::kLong), /*label_smoothing=*/0.1);
    EXPECT_EQ(sums.loss.item<double>(), 0.0);
    EXPECT_EQ(sums.correct.item<double>(), 0.0);
    EXPECT_FALSE(sums.correct.requires_grad());
    sums.loss.backward();
    for (const at::Tensor& parameter : layer->parameters()) {
      ASSERT_TRUE(parameter.grad().defined());
      EXPECT_EQ(parameter.grad().abs().sum().item<double>(), 0.0);
    }
  }
}

TEST(Loss, CountsATieAsCorrectOnlyForTheFirstOfTheLargest) {
  const at::Tensor logits =
      at::tensor({1.0f, 3.0f, 3.0f, 0.0f}).view({1, 4}).repeat({4, 1}).contiguous();
  const at::Tensor labels = at::arange(4, at::kLong);
  const at::Tensor correct = cross_entropy_sums(logits, labels, 0.0).correct;
  EXPECT_EQ(correct.scalar_type(), at::kFloat);
  EXPECT_EQ(correct.dim(), 0);
  EXPECT_EQ(correct.item<double>(), 1.0);
  EXPECT_EQ(cross_entropy_sums(logits[0].view({1, 4}), labels.narrow(0, 1, 1), 0.0)
                .correct.item<double>(),
            1.0);
}

// PyTorch's cross entropy with probabilities as targets, on the mixed label.
TEST(Loss, OfMixedImagesIsTheCrossEntropyWithTheMixedLabel) {
  torch::manual_seed(6);
  const at::Tensor first = at::randint(10, {33}, at::kLong);
  const at::Tensor second = first.roll(1, 0);
  for (const double weight : {0.0, 0.3, 0.5, 0.8, 1.0}) {
    const at::Tensor weights = at::tensor({weight, 1 - weight}, at::kFloat);
    for (const double smoothing : {0.0, 0.1}) {
      const at::Tensor logits = (3 * at::randn({33, 10})).requires_grad_();
      const ClassificationSums sums =
          mixed_cross_entropy_sums(logits, first, second, weights, smoothing);
      const at::Tensor gradient = torch::autograd::grad({sums.loss}, {logits})[0];

      const at::Tensor target = weight * at::one_hot(first, 10).to(at::kFloat) +
                                (1 - weight) * at::one_hot(second, 10).to(at::kFloat);
      const at::Tensor expected =
          at::cross_entropy_loss(logits, target, {}, at::Reduction::Sum, -100, smoothing);
      EXPECT_NEAR(sums.loss.item<double>() / expected.item<double>(), 1.0, 1e-5);
      EXPECT_TRUE(
          at::allclose(gradient, torch::autograd::grad({expected}, {logits})[0], 1e-4, 1e-5));
      const at::Tensor counted = weight >= 0.5 ? first : second;
      EXPECT_EQ(sums.correct.item<double>(), logits.argmax(1).eq(counted).sum().item<double>());
    }
  }
  const ClassificationSums empty = mixed_cross_entropy_sums(at::zeros({0, 10}),
                                                            first.narrow(0, 0, 0),
                                                            first.narrow(0, 0, 0),
                                                            at::tensor({0.3f, 0.7f}),
                                                            0.1);
  EXPECT_EQ(empty.loss.item<double>(), 0.0);
}

TEST(Loss, CountsCorrectSamplesAsAWholeNumber) {
  torch::manual_seed(5);
  const at::Tensor labels = at::randint(10, {4096}, at::kLong);
  at::Tensor logits = at::randn({4096, 10});
  int64_t expected = 0;
  for (int64_t n = 0; n < 4096; ++n) {
    if (n % 3 == 0) continue;
    logits[n][labels[n].item<int64_t>()] = 50.0;
    ++expected;
  }
  logits.index_put_({at::arange(0, 4096, 3)}, 0.0);  // a tie of all: class 0
  expected += labels.slice(0, 0, 4096, 3).eq(0).sum().item<int64_t>();
  EXPECT_EQ(cross_entropy_sums(logits, labels, 0.1).correct.item<double>(),
            static_cast<double>(expected));
}

}  // namespace
}  // namespace lockstep
