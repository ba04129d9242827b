#include "lockstep/core/training/ema.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <map>
#include <string>

#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/weights/weights.h"

namespace lockstep {
namespace {

struct Net : torch::nn::Module {
  Net() {
    linear = register_module("linear", torch::nn::Linear(3, 4));
    norm = register_module("norm", std::make_shared<BatchNorm>(4));
  }
  torch::nn::Linear linear{nullptr};
  std::shared_ptr<BatchNorm> norm;
};

using Tensors = std::map<std::string, at::Tensor>;

Tensors tensors(const Net& net, const FlatParameters& parameters) {
  const NamedTensors exported = export_weights(net, parameters);
  return {exported.begin(), exported.end()};
}

Tensors averaged(Net& net, FlatParameters& parameters, WeightAverage& average) {
  Tensors found;
  with_average(&average, [&] { found = tensors(net, parameters); });
  return found;
}

// A made-up update of everything an update changes.
void change(Net& net, FlatParameters& parameters) {
  const at::NoGradGuard no_grad;
  parameters.master().add_(torch::randn_like(parameters.master()));
  parameters.refresh_leaves();
  net.norm->running_mean.add_(torch::randn({4}));
  net.norm->running_var.mul_(1.5);
  net.norm->num_batches_tracked.add_(1);
}

TEST(WeightAverage, IsTheWeightedSumOfAllWeightsSoFar) {
  for (const double decay : {0.0, 0.5, 0.99}) {
    torch::manual_seed(1);
    const auto shared = std::make_shared<Net>();  // modules() refuses one on the stack
    Net& net = *shared;
    FlatParameters parameters(net, {});
    WeightAverage average(net, parameters, decay);
    std::vector<Tensors> history{tensors(net, parameters)};
    for (int k = 0; k < 30; ++k) {
      change(net, parameters);
      average.update();
      history.push_back(tensors(net, parameters));
    }
    const Tensors found = averaged(net, parameters, average);
    for (const auto& [name, value] : found) {
      if (!value.is_floating_point()) {
        EXPECT_TRUE(torch::equal(value, history.back().at(name))) << name;
        continue;
      }
      // decay^k * w_0 + (1 - decay) * sum over i of decay^(k - i) * w_i.
      at::Tensor expected = std::pow(decay, 30) * history[0].at(name).to(torch::kDouble);
      for (int i = 1; i <= 30; ++i) {
        expected = expected + (1 - decay) * std::pow(decay, 30 - i) *
                                  history[static_cast<size_t>(i)].at(name).to(torch::kDouble);
      }
      EXPECT_TRUE(torch::allclose(value.to(torch::kDouble), expected, 1e-5, 1e-5)) << name;
    }
  }
}

TEST(WeightAverage, SwapsInAndOutWithoutATrace) {
  torch::manual_seed(2);
  const auto shared = std::make_shared<Net>();
  Net& net = *shared;
  FlatParameters parameters(net, {.bf16 = true});
  WeightAverage average(net, parameters, 0.9);
  const Tensors start = tensors(net, parameters);
  change(net, parameters);
  const Tensors current = tensors(net, parameters);
  for (int i = 0; i < 2; ++i) {
    // The average has not been updated yet.
    with_average(&average, [&] {
      // The shadows that forward uses are the average's too.
      EXPECT_TRUE(torch::equal(net.linear->weight, start.at("linear.weight").to(torch::kBFloat16)));
      EXPECT_TRUE(torch::equal(net.norm->running_mean, start.at("norm.running_mean")));
    });
    for (const auto& [name, value] : tensors(net, parameters))
      EXPECT_TRUE(torch::equal(value, current.at(name))) << name;
    EXPECT_TRUE(torch::equal(net.linear->weight, current.at("linear.weight").to(torch::kBFloat16)));
  }
}

TEST(WeightAverage, TheShareOfItsBeginningIsWhatAnAverageHolds) {
  for (const double decay : {0.5, 0.99, 0.9999}) {
    double average = 1;  // of weights that are 0 from the first update on
    for (int64_t updates = 1; updates <= 500; ++updates) {
      average = decay * average;
      EXPECT_NEAR(initial_share(decay, updates), average, 1e-12);
    }
  }
}

TEST(WeightAverage, AFittingDecayForgetsItsBeginning) {
  EXPECT_TRUE(average_lags(0.9999, 114));
  EXPECT_FALSE(average_lags(0.9999, 100'000));
  EXPECT_FALSE(average_lags(0, 114));
  EXPECT_NEAR(fitting_decay(114), 0.91, 1e-12);
  EXPECT_EQ(fitting_decay(5), 0);
  for (int64_t updates = 20; updates < 10'000'000; updates += updates / 3) {
    const double decay = fitting_decay(updates);
    EXPECT_FALSE(average_lags(decay, updates)) << updates;
    EXPECT_GE(decay, 0.5) << updates;
    EXPECT_LT(decay, 1) << updates;
  }
}

}  // namespace
}  // namespace lockstep
