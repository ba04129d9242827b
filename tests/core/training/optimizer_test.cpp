#include "lockstep/core/training/optimizer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A module with weights, biases and norms, large enough for the operators' vector paths.
torch::nn::Sequential make_module() {
  torch::manual_seed(3);
  return torch::nn::Sequential(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 9, 3)),
                               torch::nn::BatchNorm2d(9),
                               torch::nn::Flatten(),
                               torch::nn::Linear(81, 7));
}

// A few hundred bytes a bucket: several ranges a group.
FlatOptions flat_options(bool decay_norms_and_biases) {
  FlatOptions options;
  options.decay_norms_and_biases = decay_norms_and_biases;
  options.bucket_bytes = 512;
  return options;
}

at::Tensor scalar(double value) { return at::full({}, value, at::kFloat); }

// Gradients of step `step`, in the order of the module's parameters.
std::vector<at::Tensor> random_gradients(const torch::nn::Sequential& module, int64_t step) {
  torch::manual_seed(100 + static_cast<uint64_t>(step));
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : module->parameters()) {
    gradients.push_back(at::randn(parameter.sizes()));
  }
  return gradients;
}

void write_gradients(FlatParameters& flat,
                     const torch::nn::Sequential& module,
                     const std::vector<at::Tensor>& gradients,
                     double divisor) {
  const auto names = module->named_parameters().keys();
  for (const FlatEntry& entry : flat.entries()) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == entry.name) entry.gradient.detach().copy_(gradients[i] * divisor);
    }
  }
}

// As backward does, which leaves the padding alone.
void fill_gradients(FlatParameters& flat, double value) {
  for (const FlatEntry& entry : flat.entries()) entry.gradient.detach().fill_(value);
}

// The same parameters under LibTorch's own optimizer: weight decay for weights, and for the rest
// only if asked.
template <typename TorchOptimizer, typename TorchOptions>
TorchOptimizer reference_optimizer(const torch::nn::Sequential& module,
                                   const TorchOptions& options,
                                   bool decay_norms_and_biases) {
  std::vector<at::Tensor> weights, others;
  for (const at::Tensor& parameter : module->parameters()) {
    (parameter.dim() > 1 ? weights : others).push_back(parameter);
  }
  TorchOptions without_decay = options;
  without_decay.weight_decay(0.0);
  const TorchOptions for_others = decay_norms_and_biases ? options : without_decay;
  // LibTorch 2.15 gives the optimizer's own options to a group wherever the group's are those of a
  // new object, as SGD's decay of 0 is: the optimizer's must not be what a group is without.
  return TorchOptimizer(
      std::vector<torch::optim::OptimizerParamGroup>{
          {weights, std::make_unique<TorchOptions>(options)},
          {others, std::make_unique<TorchOptions>(for_others)}},
      without_decay);
}

// 20 steps with a changing rate on both sides; the weights must agree after each.
template <typename TorchOptimizer, typename TorchOptions>
void expect_equal_training(const OptimizerConfig& config, TorchOptions options, double divisor) {
  SCOPED_TRACE(fmt::format("{} momentum {} nesterov {} decay {} all {} divisor {}",
                           name_of(config.name),
                           config.momentum,
                           config.nesterov,
                           config.weight_decay,
                           config.decay_norms_and_biases,
                           divisor));
  auto module = make_module();
  auto expected = make_module();
  FlatParameters flat(*module, flat_options(config.decay_norms_and_biases));
  const auto optimizer = make_optimizer(config, flat);
  auto reference = reference_optimizer<TorchOptimizer>(
      expected, options.weight_decay(config.weight_decay), config.decay_norms_and_biases);
  for (int64_t step = 0; step < 20; ++step) {
    const double rate = 0.01 / (1.0 + 0.1 * static_cast<double>(step));
    const auto gradients = random_gradients(expected, step);
    write_gradients(flat, module, gradients, divisor);
    optimizer->step(rate, scalar(divisor), scalar(0.0));

    const auto parameters = expected->parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].mutable_grad() = gradients[i];
    for (auto& group : reference.param_groups()) group.options().set_lr(rate);
    reference.step();

    const auto updated = module->parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      ASSERT_TRUE(at::allclose(updated[i], parameters[i], 1e-5, 1e-6)) << step << ", " << i;
    }
  }
  // The comparison is worth nothing if the weights did not move.
  EXPECT_FALSE(at::allclose(module->parameters()[0], make_module()->parameters()[0], 1e-2, 1e-2));
}

OptimizerConfig sgd_config() {
  OptimizerConfig config;
  config.weight_decay = 0.05;  // large, so that a missing one shows
  return config;
}

OptimizerConfig adamw_config() {
  OptimizerConfig config;
  config.name = "adamw";
  config.weight_decay = 0.5;
  return config;
}

TEST(Optimizer, EqualsLibTorchsSgd) {
  for (const bool decay_all : {true, false}) {
    for (const double momentum : {0.0, 0.9}) {
      for (const bool nesterov : {false, true}) {
        if (nesterov && momentum == 0) continue;
        for (const double divisor : {1.0, 96.0}) {
          OptimizerConfig config = sgd_config();
          config.decay_norms_and_biases = decay_all;
          config.momentum = momentum;
          config.nesterov = nesterov;
          expect_equal_training<torch::optim::SGD>(
              config,
              torch::optim::SGDOptions(0.01).momentum(momentum).nesterov(nesterov),
              divisor);
        }
      }
    }
  }
}

TEST(Optimizer, EqualsLibTorchsAdamW) {
  for (const bool decay_all : {true, false}) {
    for (const double divisor : {1.0, 96.0}) {
      OptimizerConfig config = adamw_config();
      config.decay_norms_and_biases = decay_all;
      config.beta2 = 0.99;
      expect_equal_training<torch::optim::AdamW>(
          config, torch::optim::AdamWOptions(0.01).betas({0.9, 0.99}).eps(1e-8), divisor);
    }
  }
}

TEST(Optimizer, LeavesAllBitsAloneWhenSomethingIsNotFinite) {
  OptimizerConfig plain_sgd = sgd_config();
  plain_sgd.momentum = 0;
  for (const OptimizerConfig& config : {sgd_config(), plain_sgd, adamw_config()}) {
    auto module = make_module();
    FlatParameters flat(*module, flat_options(false));
    const auto optimizer = make_optimizer(config, flat);
    write_gradients(flat, module, random_gradients(module, 0), 1.0);
    optimizer->step(0.1, scalar(1.0), scalar(0.0));

    const at::Tensor weights = flat.master().clone();
    std::map<std::string, at::Tensor> state;
    for (const auto& [name, tensor] : optimizer->state()) state[name] = tensor.clone();
    // A flag summed over ranks is larger than 1, or NaN.
    for (const double found_inf : {1.0, 2.0, 0.5, kInfinity, kNan}) {
      fill_gradients(flat, kNan);
      optimizer->step(0.1, scalar(1.0), scalar(found_inf));
      EXPECT_TRUE(at::equal(flat.master(), weights)) << name_of(config.name) << ' ' << found_inf;
      for (const auto& [name, tensor] : optimizer->state()) {
        EXPECT_TRUE(at::equal(tensor, state.at(name))) << name << ' ' << found_inf;
      }
    }
  }
}

TEST(Optimizer, GoesOnAfterASkippedUpdateAsIfItHadNotBeen) {
  for (const OptimizerConfig& config : {sgd_config(), adamw_config()}) {
    std::vector<at::Tensor> results;
    for (const bool skip_one : {false, true}) {
      auto module = make_module();
      FlatParameters flat(*module, flat_options(true));
      const auto optimizer = make_optimizer(config, flat);
      for (int64_t step = 0; step < 4; ++step) {
        if (skip_one && step == 2) {
          fill_gradients(flat, kInfinity);
          optimizer->step(0.1, scalar(8.0), scalar(1.0));
        }
        write_gradients(flat, module, random_gradients(module, step), 8.0);
        optimizer->step(0.1, scalar(8.0), scalar(0.0));
      }
      results.push_back(flat.master().clone());
    }
    EXPECT_TRUE(at::equal(results[0], results[1])) << name_of(config.name);
  }
}

TEST(Optimizer, GoesOnFromARestoredState) {
  for (const OptimizerConfig& config : {sgd_config(), adamw_config()}) {
    auto module = make_module();
    FlatParameters flat(*module, flat_options(true));
    const auto optimizer = make_optimizer(config, flat);
    for (int64_t step = 0; step < 3; ++step) {
      write_gradients(flat, module, random_gradients(module, step), 1.0);
      optimizer->step(0.1, scalar(1.0), scalar(0.0));
    }

    auto resumed_module = make_module();
    FlatParameters resumed(*resumed_module, flat_options(true));
    const auto resumed_optimizer = make_optimizer(config, resumed);
    resumed.master().copy_(flat.master());
    const auto saved = optimizer->state();
    for (auto& [name, tensor] : resumed_optimizer->state()) tensor.copy_(saved.at(name));

    const auto gradients = random_gradients(module, 3);
    write_gradients(flat, module, gradients, 1.0);
    write_gradients(resumed, resumed_module, gradients, 1.0);
    optimizer->step(0.1, scalar(1.0), scalar(0.0));
    resumed_optimizer->step(0.1, scalar(1.0), scalar(0.0));
    EXPECT_TRUE(at::equal(flat.master(), resumed.master())) << name_of(config.name);
  }
}

TEST(Optimizer, RefreshesTheBfloat16LeavesAfterTheUpdate) {
  auto module = make_module();
  FlatOptions options;
  options.bf16 = true;
  FlatParameters flat(*module, options);
  const auto optimizer = make_optimizer(sgd_config(), flat);
  fill_gradients(flat, 1.0);
  optimizer->step(0.5, scalar(1.0), scalar(0.0));
  int num_shadows = 0;
  for (const FlatEntry& entry : flat.entries()) {
    if (entry.leaf.scalar_type() != at::kBFloat16) continue;
    ++num_shadows;
    EXPECT_TRUE(at::equal(entry.leaf, entry.master.to(at::kBFloat16))) << entry.name;
  }
  EXPECT_GT(num_shadows, 0);
}

TEST(Optimizer, RefusesANameItDoesNotKnow) {
  OptimizerConfig config;
  try {
    config.name = "adam";
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("'adam'"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep
