#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/channel_concatenation.h"
#include "tests/core/nn/batch_norm_reference.h"

namespace lockstep {
namespace {

struct Slices {
  std::vector<int64_t> sizes;  // images of each rank
  at::ScalarType dtype;
  at::MemoryFormat format;
  bool relu, residual;
};

at::Tensor slice_of(const at::Tensor& whole, int64_t begin, int64_t size) {
  return whole.defined() ? whole.narrow(0, begin, size) : whole;
}

struct RankOutcome {
  BatchNormOutcome outcome;
  BatchNormResult result;
};

// What each rank gets for its slice of `whole` under an exchange.
std::vector<RankOutcome> over_ranks(const BatchNormCase& whole, const std::vector<int64_t>& sizes) {
  std::vector<RankOutcome> ranks(sizes.size());
  ThreadExchanges exchanges(static_cast<int64_t>(sizes.size()));
  exchanges.run([&](size_t rank, StatisticsExchange& exchange) {
    int64_t begin = 0;
    for (size_t before = 0; before < rank; ++before) begin += sizes[before];
    BatchNormCase slice = whole;
    slice.x = slice_of(whole.x, begin, sizes[rank]);
    slice.dy = slice_of(whole.dy, begin, sizes[rank]);
    slice.residual = slice_of(whole.residual, begin, sizes[rank]);
    ranks[rank].outcome = fused_outcome(slice, &exchange, &ranks[rank].result);
  });
  return ranks;
}

template <typename Member>
at::Tensor joined(const std::vector<RankOutcome>& ranks, Member member) {
  std::vector<at::Tensor> parts;
  for (const auto& rank : ranks) parts.push_back(rank.outcome.*member);
  return at::cat(parts);
}

template <typename Member>
at::Tensor summed(const std::vector<RankOutcome>& ranks, Member member) {
  at::Tensor sum = at::zeros_like(ranks[0].outcome.*member);
  for (const auto& rank : ranks) sum = sum + rank.outcome.*member;
  return sum;
}

void expect_equals_whole_batch(const Slices& slices) {
  SCOPED_TRACE(testing::Message() << slices.sizes << " " << slices.dtype << " " << slices.format);
  int64_t images = 0;
  for (const int64_t size : slices.sizes) images += size;
  BatchNormCase whole =
      random_case({images, 18, 5, 7}, slices.dtype, slices.format, slices.relu, slices.residual);
  whole.x = whole.x + 3 * torch::arange(images).to(slices.dtype).view({images, 1, 1, 1});
  const at::Tensor mean = torch::zeros({18}, at::kDouble);
  const at::Tensor variance = torch::ones({18}, at::kDouble);
  const BatchNormOutcome truth = reference_outcome(whole, mean, variance);
  const auto ranks = over_ranks(whole, slices.sizes);

  const double tolerance = slices.dtype == at::kFloat ? 2e-5 : 0x1p-8;
  EXPECT_LT(difference(joined(ranks, &BatchNormOutcome::y), truth.y), tolerance);
  EXPECT_LT(difference(joined(ranks, &BatchNormOutcome::dx), truth.dx), tolerance);
  if (slices.residual) {
    EXPECT_LT(difference(joined(ranks, &BatchNormOutcome::dresidual), truth.dresidual), tolerance);
  }
  EXPECT_LT(difference(summed(ranks, &BatchNormOutcome::dweight), truth.dweight), 1e-4);
  EXPECT_LT(difference(summed(ranks, &BatchNormOutcome::dbias), truth.dbias), 1e-4);
  for (const auto& rank : ranks) {
    EXPECT_TRUE(at::equal(rank.result.mean, ranks[0].result.mean));
    EXPECT_TRUE(at::equal(rank.result.unbiased_variance, ranks[0].result.unbiased_variance));
    EXPECT_LT(difference(0.1 * rank.result.mean, mean), 1e-6);
    EXPECT_LT(difference(0.9 + 0.1 * rank.result.unbiased_variance, variance), 1e-6);
  }
}

TEST(SynchronisedBatchNorm, EqualsOneRankOnTheWholeBatch) {
  torch::manual_seed(3);
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{4}, {4, 4}, {5, 1}, {2, 3, 4}}) {
    for (const bool residual : {false, true}) {
      expect_equals_whole_batch({sizes, at::kFloat, at::MemoryFormat::Contiguous, true, residual});
      expect_equals_whole_batch(
          {sizes, at::kBFloat16, at::MemoryFormat::ChannelsLast, true, residual});
    }
  }
}

TEST(SynchronisedBatchNorm, TakesEmptySlices) {
  torch::manual_seed(4);
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{6, 0}, {0, 5, 2}, {0, 0, 3}}) {
    for (const bool residual : {false, true}) {
      expect_equals_whole_batch(
          {sizes, at::kFloat, at::MemoryFormat::ChannelsLast, true, residual});
      expect_equals_whole_batch(
          {sizes, at::kBFloat16, at::MemoryFormat::Contiguous, false, residual});
    }
  }
}

TEST(SynchronisedBatchNorm, DoesNotCancelWhereRanksHaveDifferentLargeMeans) {
  torch::manual_seed(5);
  BatchNormCase whole =
      random_case({8, 3, 6, 6}, at::kFloat, at::MemoryFormat::Contiguous, false, false);
  whole.x = whole.x + 1e4;
  whole.x.narrow(0, 3, 5).add_(2);
  const auto ranks = over_ranks(whole, {3, 5});
  const at::Tensor truth = whole.x.to(at::kDouble).var({0, 2, 3}, true);
  for (const auto& rank : ranks) EXPECT_LT(difference(rank.result.unbiased_variance, truth), 1e-6);
}

TEST(SynchronisedBatchNorm, LayersKeepTheSameRunningStatisticsOnAllRanks) {
  torch::manual_seed(6);
  const at::Tensor images = torch::randn({7, 4, 3, 3}) * 2 + 1;
  torch::nn::BatchNorm2d theirs(4);
  theirs->forward(images);
  ThreadExchanges exchanges(3);
  exchanges.run([&](size_t rank, StatisticsExchange& exchange) {
    constexpr int64_t kBegin[] = {0, 2, 2}, kSize[] = {2, 0, 5};
    BatchNorm layer(4);
    StepContext context;
    context.training = true;
    context.statistics_exchange = &exchange;
    layer.forward(images.narrow(0, kBegin[rank], kSize[rank]), context);
    EXPECT_LT(difference(layer.running_mean, theirs->running_mean), 1e-6);
    EXPECT_LT(difference(layer.running_var, theirs->running_var), 1e-6);
  });
}

TEST(SynchronisedBatchNorm, LayersTakenTogetherEqualLayersOnTheWholeBatch) {
  torch::manual_seed(8);
  const at::Tensor images = torch::randn({7, 9, 3, 3}) * 2 + 1, dy = torch::randn({7, 9, 3, 3});
  torch::nn::BatchNorm2d first(4), second(5);
  const at::Tensor whole = leaf(images, at::kFloat);
  const at::Tensor truth =
      at::cat({first->forward(whole.narrow(1, 0, 4)), second->forward(whole.narrow(1, 4, 5))}, 1)
          .relu();
  truth.backward(dy);
  ThreadExchanges exchanges(3);
  exchanges.run([&](size_t rank, StatisticsExchange& exchange) {
    constexpr int64_t kBegin[] = {0, 2, 2}, kSize[] = {2, 0, 5};
    const auto slice = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, kBegin[rank], kSize[rank]);
    };
    BatchNorm a(4), b(5);
    StepContext context;
    context.training = true;
    context.statistics_exchange = &exchange;
    const at::Tensor x = leaf(slice(images), at::kFloat);
    ChannelConcatenation output(x, 9);
    const at::Tensor y = output.join(
        BatchNorm::forward_together(x, {&a, &b}, context, {output.next(4), output.next(5)}));
    y.backward(slice(dy));
    EXPECT_LT(difference(y, slice(truth)), 1e-5);
    EXPECT_LT(difference(x.grad(), slice(whole.grad())), 1e-5);
    EXPECT_LT(difference(a.running_mean, first->running_mean), 1e-6);
    EXPECT_LT(difference(a.running_var, first->running_var), 1e-6);
    EXPECT_LT(difference(b.running_mean, second->running_mean), 1e-6);
    EXPECT_LT(difference(b.running_var, second->running_var), 1e-6);
  });
}

}  // namespace
}  // namespace lockstep
