#include "core/optimizer.h"

#include <ATen/Functions.h>

#include "core/error.h"

namespace lockstep {
namespace {

// What both optimizers share: the two weight-decay groups over flat memory.
class FlatOptimizer : public Optimizer {
 public:
  FlatOptimizer(const OptimizerConfig& config, FlatParameters& parameters) : config_(config), parameters_(parameters) {}

  void step(double learning_rate, const at::Tensor& gradient_divisor, const at::Tensor& found_inf) final {
    const at::NoGradGuard no_grad;
    count_step(found_inf);
    for (bool decay : {true, false}) {
      auto weights = parameters_.group_views(parameters_.master(), decay);
      if (weights.empty()) continue;
      auto gradients = parameters_.group_views(parameters_.gradient(), decay);
      update(weights, gradients, decay ? config_.weight_decay : 0.0, decay, learning_rate, gradient_divisor, found_inf);
    }
    parameters_.refresh_leaves();
  }

 protected:
  virtual void update(at::TensorList weights, at::TensorList gradients, double weight_decay, bool decay, double learning_rate,
                      const at::Tensor& gradient_divisor, const at::Tensor& found_inf) = 0;

  virtual void count_step(const at::Tensor& /*found_inf*/) {}

  at::Tensor flat_state() const { return at::zeros_like(parameters_.master()); }

  OptimizerConfig config_;
  FlatParameters& parameters_;
};

class Sgd final : public FlatOptimizer {
 public:
  Sgd(const OptimizerConfig& config, FlatParameters& parameters) : FlatOptimizer(config, parameters), momentum_(flat_state()) {}

  std::map<std::string, at::Tensor> state() override { return {{"momentum", momentum_}}; }

 private:
  void update(at::TensorList weights, at::TensorList gradients, double weight_decay, bool decay, double learning_rate,
              const at::Tensor& gradient_divisor, const at::Tensor& found_inf) override {
    const auto momentum = parameters_.group_views(momentum_, decay);
    // Momentum that starts at zero gives the same bits as a first step of its own, with no dampening.
    at::_fused_sgd_(weights, gradients, momentum, weight_decay, config_.momentum, learning_rate, /*dampening=*/0.0, config_.nesterov,
                    /*maximize=*/false, /*is_first_step=*/false, gradient_divisor, found_inf);
  }

  at::Tensor momentum_;
};

class AdamW final : public FlatOptimizer {
 public:
  AdamW(const OptimizerConfig& config, FlatParameters& parameters)
      : FlatOptimizer(config, parameters),
        exp_avg_(flat_state()),
        exp_avg_sq_(flat_state()),
        step_(at::zeros({1}, parameters.master().options())) {}

  std::map<std::string, at::Tensor> state() override {
    return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}, {"step", step_}};
  }

 private:
  void update(at::TensorList weights, at::TensorList gradients, double weight_decay, bool decay, double learning_rate,
              const at::Tensor& gradient_divisor, const at::Tensor& found_inf) override {
    const std::vector<at::Tensor> steps(weights.size(), step_[0]);
    at::_fused_adamw_(weights, gradients, parameters_.group_views(exp_avg_, decay), parameters_.group_views(exp_avg_sq_, decay),
                      /*max_exp_avg_sqs=*/{}, steps, learning_rate, config_.beta1, config_.beta2, weight_decay, config_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, gradient_divisor, found_inf);
  }

  void count_step(const at::Tensor& found_inf) override { step_.add_(1.0 - found_inf); }

  at::Tensor exp_avg_, exp_avg_sq_, step_;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, FlatParameters& parameters) {
  if (config.name == "sgd") return std::make_unique<Sgd>(config, parameters);
  if (config.name == "adamw") return std::make_unique<AdamW>(config, parameters);
  throw_error(ExitCode::kUsage, "unknown optimizer '{}': known are sgd and adamw", config.name);
}

}  // namespace lockstep
