#include "lockstep/core/training/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// What both optimizers share: the two weight-decay groups over flat memory.
class FlatOptimizer : public Optimizer {
 public:
  FlatOptimizer(const OptimizerConfig& config, FlatParameters& parameters)
      : config_(config), parameters_(parameters) {
    if (parameters_.master().is_cuda()) {
      device_rate_ = at::zeros({}, parameters_.master().options());
    }
  }

  void step(double learning_rate,
            const at::Tensor& gradient_divisor,
            const at::Tensor& found_inf) final {
    const at::NoGradGuard no_grad;
    // The fused operators skip at exactly 1, but a sum over ranks may be larger, or NaN.
    const at::Tensor skip = found_inf.ne(0).to(at::kFloat);
    set_learning_rate(learning_rate);
    begin_step(skip);
    for (const bool decay : {true, false}) {
      const auto weights = parameters_.group_views(parameters_.master(), decay);
      if (weights.empty()) continue;
      const auto gradients = parameters_.group_views(parameters_.gradient(), decay);
      update(weights, gradients, decay, gradient_divisor, skip);
    }
    parameters_.refresh_leaves();
  }

 protected:
  virtual void begin_step(const at::Tensor& /*skip*/) {}
  virtual void update(at::TensorList weights,
                      at::TensorList gradients,
                      bool decay,
                      const at::Tensor& gradient_divisor,
                      const at::Tensor& skip) = 0;

  double weight_decay(bool decay) const { return decay ? config_.weight_decay : 0.0; }

  at::Tensor flat_zeros() const { return at::zeros_like(parameters_.master()); }

  // Calls `fused` with the rate in the form that the device reads without a copy: a number on the
  // CPU, a tensor in device memory on a GPU.
  template <typename Fused>
  void with_rate(Fused fused) const {
    if (device_rate_.defined()) {
      fused(device_rate_);
    } else {
      fused(rate_);
    }
  }

  const OptimizerConfig config_;
  FlatParameters& parameters_;

 private:
  void set_learning_rate(double learning_rate) {
    if (device_rate_.defined() && learning_rate != rate_) device_rate_.fill_(learning_rate);
    rate_ = learning_rate;
  }

  double rate_ = 0.0;
  at::Tensor device_rate_;  // [] float32, on a GPU only
};

class Sgd final : public FlatOptimizer {
 public:
  Sgd(const OptimizerConfig& config, FlatParameters& parameters)
      : FlatOptimizer(config, parameters) {
    if (config.momentum != 0) momentum_ = flat_zeros();
  }

  std::map<std::string, at::Tensor> state() override {
    if (!momentum_.defined()) return {};
    return {{"momentum", momentum_}};
  }

 private:
  void update(at::TensorList weights,
              at::TensorList gradients,
              bool decay,
              const at::Tensor& gradient_divisor,
              const at::Tensor& skip) override {
    // Without momentum the operator wants no buffers at all.
    std::vector<at::Tensor> momentum;
    if (momentum_.defined()) momentum = parameters_.group_views(momentum_, decay);
    with_rate([&](const auto& rate) {
      // With dampening 0, momentum that starts at zero gives the bits of a first step of its own.
      at::_fused_sgd_(weights,
                      gradients,
                      momentum,
                      weight_decay(decay),
                      config_.momentum,
                      rate,
                      /*dampening=*/0.0,
                      config_.nesterov,
                      /*maximize=*/false,
                      /*is_first_step=*/false,
                      gradient_divisor,
                      skip);
    });
  }

  at::Tensor momentum_;
};

class AdamW final : public FlatOptimizer {
 public:
  AdamW(const OptimizerConfig& config, FlatParameters& parameters)
      : FlatOptimizer(config, parameters),
        exp_avg_(flat_zeros()),
        exp_avg_sq_(flat_zeros()),
        step_(at::zeros({1}, parameters.master().options())) {}

  std::map<std::string, at::Tensor> state() override {
    return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}, {"step", step_}};
  }

 private:
  // The operator reads the number of the update that it makes, so skipped ones do not count.
  void begin_step(const at::Tensor& skip) override { step_.add_(1.0 - skip); }

  void update(at::TensorList weights,
              at::TensorList gradients,
              bool decay,
              const at::Tensor& gradient_divisor,
              const at::Tensor& skip) override {
    const std::vector<at::Tensor> steps(weights.size(), step_.select(0, 0));
    const auto exp_avgs = parameters_.group_views(exp_avg_, decay);
    const auto exp_avg_sqs = parameters_.group_views(exp_avg_sq_, decay);
    with_rate([&](const auto& rate) {
      at::_fused_adamw_(weights,
                        gradients,
                        exp_avgs,
                        exp_avg_sqs,
                        /*max_exp_avg_sqs=*/{},
                        steps,
                        rate,
                        config_.beta1,
                        config_.beta2,
                        weight_decay(decay),
                        config_.epsilon,
                        /*amsgrad=*/false,
                        /*maximize=*/false,
                        gradient_divisor,
                        skip);
    });
  }

  at::Tensor exp_avg_, exp_avg_sq_, step_;
};

template <typename Rule>
std::unique_ptr<Optimizer> make(const OptimizerConfig& config, FlatParameters& parameters) {
  return std::make_unique<Rule>(config, parameters);
}

void check_sgd(const OptimizerConfig& config) {
  if (!config.nesterov || config.momentum != 0) return;
  throw_error(ExitCode::kUsage,
              "optimizer.nesterov is true, but optimizer.momentum is 0: set a momentum such as "
              "0.9, or nesterov to false");
}

// A new optimizer is a class above and a row here.
constexpr UpdateRule kRules[] = {
    {"sgd", "gradient descent with momentum, Nesterov's if asked for", make<Sgd>, check_sgd},
    {"adamw", "Adam with decoupled weight decay (Loshchilov and Hutter 2019)", make<AdamW>},
};

}  // namespace

std::span<const UpdateRule> UpdateRule::table() { return kRules; }

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config,
                                          FlatParameters& parameters) {
  return config.name->make(config, parameters);
}

}  // namespace lockstep
