// Batch normalisation over groups of consecutive images, against each group as a batch of its own.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

#include "lockstep/core/nn/batch_norm.h"
#include "tests/core/nn/batch_norm_reference.h"
#include "tests/core/nn/instruction_sets.h"

namespace lockstep {
namespace {

class BatchNormGroupsOf : public EachInstructionSet {};
INSTANTIATE_TEST_SUITE_P(EachInstructionSet,
                         BatchNormGroupsOf,
                         instruction_sets(),
                         instruction_set_name);

// Each group of images as a batch of its own, in LibTorch's composition.
BatchNormOutcome outcome_by_groups(const BatchNormCase& whole, const ImageGroups& groups) {
  std::vector<BatchNormOutcome> made;
  for (int64_t g = 0; g < groups.count; ++g) {
    BatchNormCase part = whole;
    for (at::Tensor* tensor : {&part.x, &part.dy, &part.residual}) {
      if (tensor->defined()) *tensor = tensor->narrow(0, groups.begin(g), groups.size(g));
    }
    made.push_back(reference_outcome(part));
  }
  const auto all = [&](auto member) {
    std::vector<at::Tensor> parts;
    for (const BatchNormOutcome& outcome : made) parts.push_back(outcome.*member);
    return parts;
  };
  return {at::cat(all(&BatchNormOutcome::y)),
          at::cat(all(&BatchNormOutcome::dx)),
          whole.residual.defined() ? at::cat(all(&BatchNormOutcome::dresidual)) : at::Tensor(),
          at::stack(all(&BatchNormOutcome::dweight)).sum(0),
          at::stack(all(&BatchNormOutcome::dbias)).sum(0)};
}

// Groups 1 to 3 of the 5 that 17 images are cut into: 3, 3 and 4 images.
constexpr ImageGroups kGroups{.images = 17, .of = 5, .first = 1, .count = 3};

TEST_P(BatchNormGroupsOf, EqualTheCompositionGroupByGroup) {
  for (const int threads : {1, 2, 4}) {
    for (const auto format : {kNchw, kNhwc}) {
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        for (const bool residual : {false, true}) {
          at::set_num_threads(threads);
          BatchNormCase given = random_case({10, 19, 5, 7}, dtype, format, true, residual);
          given.x = given.x + torch::arange(10).to(dtype).view({10, 1, 1, 1});
          expect_near(fused_outcome(given, nullptr, nullptr, kGroups),
                      outcome_by_groups(given, kGroups),
                      dtype == at::kBFloat16 ? kBf16Tolerance : kFloatTolerance);
        }
      }
    }
  }
}

TEST_P(BatchNormGroupsOf, HaveStatisticsOfTheirOwn) {
  BatchNormCase given = random_case({10, 6, 4, 3}, at::kFloat, kNhwc, false, false);
  given.x = given.x + torch::arange(10).view({10, 1, 1, 1});
  BatchNormResult result;
  fused_outcome(given, nullptr, &result, kGroups);
  for (int64_t g = 0; g < kGroups.count; ++g) {
    const at::Tensor group = given.x.narrow(0, kGroups.begin(g), kGroups.size(g)).to(at::kDouble);
    EXPECT_LT(difference(result.mean[g], group.mean({0, 2, 3})), 1e-6);
    EXPECT_LT(difference(result.unbiased_variance[g], group.var({0, 2, 3}, true)), 1e-6);
  }
}

// The parts of a norm are cut out of what there is per group and channel.
TEST_P(BatchNormGroupsOf, InPartsGiveTheBitsOfTheWhole) {
  const BatchNormCase given = random_case({10, 21, 5, 4}, at::kFloat, kNhwc, true, false);
  const BatchNormOutcome whole = fused_outcome(given, nullptr, nullptr, kGroups);
  const at::Tensor x = leaf(given.x, at::kFloat), weight = leaf(given.weight, at::kFloat),
                   bias = leaf(given.bias, at::kFloat);
  const auto made =
      batch_norm_train({.x = x, .weight = weight, .bias = bias, .relu = true, .groups = kGroups},
                       nullptr,
                       {{.channels = 16}, {.channels = 5}});
  torch::autograd::backward(
      {made.y[0], made.y[1]},
      {given.dy.narrow(1, 0, 16).contiguous(kNhwc), given.dy.narrow(1, 16, 5).contiguous(kNhwc)});
  EXPECT_TRUE(at::equal(at::cat({made.y[0], made.y[1]}, 1), whole.y));
  EXPECT_LT(difference(x.grad(), whole.dx), 1e-6);
  EXPECT_LT(difference(weight.grad(), whole.dweight), 1e-6);
  EXPECT_LT(difference(bias.grad(), whole.dbias), 1e-6);
}

TEST_P(BatchNormGroupsOf, AddToALayersContributionByTheirImages) {
  BatchNormCase given = random_case({10, 6, 4, 3}, at::kFloat, kNhwc, false, false);
  const BatchNormContribution contribution{.mean_sum = torch::ones({6}),
                                           .variance_sum = torch::ones({6}),
                                           .mean_images = torch::ones({1}),
                                           .variance_images = torch::ones({1})};
  batch_norm_train({.x = given.x, .weight = given.weight, .bias = given.bias, .groups = kGroups},
                   nullptr,
                   {{.channels = 6, .contribution = contribution}});
  at::Tensor mean = torch::ones({6}, at::kDouble), variance = torch::ones({6}, at::kDouble);
  for (int64_t g = 0; g < kGroups.count; ++g) {
    const at::Tensor group = given.x.narrow(0, kGroups.begin(g), kGroups.size(g)).to(at::kDouble);
    mean += kGroups.size(g) * group.mean({0, 2, 3});
    variance += kGroups.size(g) * group.var({0, 2, 3}, true);
  }
  EXPECT_LT(difference(contribution.mean_sum, mean), 1e-6);
  EXPECT_LT(difference(contribution.variance_sum, variance), 1e-6);
  EXPECT_EQ(contribution.mean_images.item<float>(), 11.0f);
  EXPECT_EQ(contribution.variance_images.item<float>(), 11.0f);
}

// PyTorch's layer has none: one of its for each group; the running statistics are their mean, by
// images.
TEST(BatchNormGroups, LayerNormalisesTheContextsGroups) {
  torch::manual_seed(4);
  BatchNorm ours(6);
  const StepContext context{.training = true, .norm_groups = kGroups};
  const at::Tensor x = torch::randn({10, 6, 4, 5}) * 2 + 1;
  const at::Tensor y = ours.forward(x, context);
  at::Tensor mean = torch::zeros({6}), variance = torch::zeros({6});
  for (int64_t g = 0; g < kGroups.count; ++g) {
    torch::nn::BatchNorm2d theirs(6);
    const int64_t begin = kGroups.begin(g), size = kGroups.size(g);
    EXPECT_LT(difference(y.narrow(0, begin, size), theirs->forward(x.narrow(0, begin, size))),
              1e-5);
    mean += size * theirs->running_mean / 10;
    variance += size * theirs->running_var / 10;
  }
  EXPECT_LT(difference(ours.running_mean, mean), 1e-6);
  EXPECT_LT(difference(ours.running_var, variance), 1e-6);
}

}  // namespace
}  // namespace lockstep
