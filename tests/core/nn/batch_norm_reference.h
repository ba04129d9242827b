// The unfused composition of LibTorch in float64: the truth that fused batch normalisation is held
// to.
#pragma once

#include <gtest/gtest.h>
#include <torch/nn/functional/normalization.h>
#include <torch/torch.h>

#include <barrier>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {

inline constexpr auto kNchw = at::MemoryFormat::Contiguous;
inline constexpr auto kNhwc = at::MemoryFormat::ChannelsLast;

// Half a unit in the last place of 8 bits, twice (a residual's sum rounds once, the gradient
// through it again).
inline constexpr double kBf16Tolerance = 0x1p-8;
inline constexpr double kFloatTolerance = 2e-5;

struct BatchNormCase {
  at::Tensor x, residual, dy;  // residual may be undefined
  at::Tensor weight, bias;     // float32 [C]
  bool relu = false;
};

struct BatchNormOutcome {
  at::Tensor y, dx, dresidual, dweight, dbias;
};

// Standard normal activations of `sizes`; the weights are not 1 and the biases not 0.
inline BatchNormCase random_case(at::IntArrayRef sizes,
                                 at::ScalarType dtype,
                                 at::MemoryFormat format,
                                 bool relu,
                                 bool residual) {
  const auto activation = [&] {
    const at::Tensor values = torch::randn(sizes).to(dtype);
    return values.dim() == 4 ? values.contiguous(format) : values;
  };
  BatchNormCase made;
  made.x = activation();
  made.dy = activation();
  if (residual) made.residual = activation();
  made.weight = torch::rand({sizes[1]}) + 0.5;
  made.bias = torch::randn({sizes[1]}) * 0.2;
  made.relu = relu;
  return made;
}

inline at::Tensor leaf(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.defined() ? tensor.detach().to(dtype).clone().requires_grad_() : tensor;
}

inline at::Tensor gradient_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.grad() : at::Tensor();
}

// `running_mean` and `running_variance`, float64, are updated where defined.
inline BatchNormOutcome reference_outcome(const BatchNormCase& given,
                                          const at::Tensor& running_mean = {},
                                          const at::Tensor& running_variance = {}) {
  const at::Tensor x = leaf(given.x, at::kDouble), residual = leaf(given.residual, at::kDouble);
  const at::Tensor weight = leaf(given.weight, at::kDouble), bias = leaf(given.bias, at::kDouble);
  at::Tensor y =
      torch::batch_norm(x, weight, bias, running_mean, running_variance, true, 0.1, 1e-5, false);
  if (residual.defined()) y = y + residual;
  if (given.relu) y = y.relu();
  y.backward(given.dy.to(at::kDouble));
  return {y.detach(), x.grad(), gradient_of(residual), weight.grad(), bias.grad()};
}

inline BatchNormOutcome fused_outcome(const BatchNormCase& given,
                                      StatisticsExchange* exchange = nullptr,
                                      BatchNormResult* result = nullptr,
                                      std::optional<ImageGroups> groups = {}) {
  const at::Tensor x = leaf(given.x, given.x.scalar_type());
  const at::Tensor residual = leaf(given.residual, given.x.scalar_type());
  const at::Tensor weight = leaf(given.weight, at::kFloat), bias = leaf(given.bias, at::kFloat);
  const BatchNormResult made = batch_norm_train({.x = x,
                                                 .weight = weight,
                                                 .bias = bias,
                                                 .relu = given.relu,
                                                 .residual = residual,
                                                 .groups = groups},
                                                exchange);
  made.y[0].backward(given.dy);
  if (result) *result = made;
  return {made.y[0].detach(), x.grad(), gradient_of(residual), weight.grad(), bias.grad()};
}

// The largest |a - b| over (1 + |b|).
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0 && b.numel() == 0) return 0;
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).abs() / (1 + wide.abs())).max().item<double>();
}

inline void expect_near(const BatchNormOutcome& ours,
                        const BatchNormOutcome& truth,
                        double tolerance) {
  EXPECT_LT(difference(ours.y, truth.y), tolerance);
  EXPECT_LT(difference(ours.dx, truth.dx), tolerance);
  if (truth.dresidual.defined()) {
    EXPECT_LT(difference(ours.dresidual, truth.dresidual), tolerance);
  }
  // Sums of products of unrounded inputs: precise for both dtypes.
  EXPECT_LT(difference(ours.dweight, truth.dweight), 1e-4);
  EXPECT_LT(difference(ours.dbias, truth.dbias), 1e-4);
}

// Sums over `num_ranks` threads that call in step, in the order of the ranks.
class ThreadExchanges {
 public:
  explicit ThreadExchanges(int64_t num_ranks)
      : inbox_(static_cast<size_t>(num_ranks)), barrier_(num_ranks) {
    for (size_t rank = 0; rank < inbox_.size(); ++rank) ends_.emplace_back(*this, rank);
  }

  // Runs `work(rank, its exchange)` in a thread for each rank.
  void run(const std::function<void(size_t, StatisticsExchange&)>& work) {
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < inbox_.size(); ++rank) {
      threads.emplace_back([&, rank] { work(rank, ends_[rank]); });
    }
    for (auto& thread : threads) thread.join();
  }

 private:
  struct End final : StatisticsExchange {
    End(ThreadExchanges& all, size_t rank) : all_(all), rank_(rank) {}
    void sum(at::Tensor& statistics) override {
      all_.inbox_[rank_] = statistics.clone();
      all_.barrier_.arrive_and_wait();
      statistics.zero_();
      for (const auto& part : all_.inbox_) statistics.add_(part);
      all_.barrier_.arrive_and_wait();
    }
    ThreadExchanges& all_;
    size_t rank_;
  };

  std::vector<at::Tensor> inbox_;
  std::barrier<> barrier_;
  std::vector<End> ends_;
};

}  // namespace lockstep
