#include "lockstep/core/training/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/kernels/update_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"
#endif
#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

#ifdef LOCKSTEP_WITH_CUDA
// What an update does to each run of the flat memory, on its device.
at::Tensor update_runs(FlatParameters& parameters) {
  using kernels::cuda::UpdateRun;
  constexpr int64_t kLength = kernels::cuda::kRunLength;
  static_assert(FlatParameters::kAlignment % kLength == 0);
  const auto number = [](UpdateRun run) { return static_cast<int64_t>(run); };
  at::Tensor runs = at::full({parameters.num_elements() / kLength},
                             number(UpdateRun::kLeaves),
                             at::TensorOptions(at::kByte));
  for (const FlatBucket& bucket : parameters.buckets()) {
    runs.slice(0, bucket.begin / kLength, bucket.end / kLength).fill_(number(UpdateRun::kUpdates));
    runs.slice(0, bucket.begin / kLength, bucket.decay_end / kLength)
        .fill_(number(UpdateRun::kUpdatesWithDecay));
  }
  return runs.to(parameters.master().device());
}
#endif

// What both optimizers share: the two weight-decay groups over flat memory.
class FlatOptimizer : public Optimizer {
 public:
  using Optimizer::step;

  FlatOptimizer(const OptimizerConfig& config, FlatParameters& parameters)
      : config_(config), parameters_(parameters) {}

  void step(const at::Tensor& learning_rate,
            const at::Tensor& gradient_divisor,
            const at::Tensor& skip) final {
    const at::NoGradGuard no_grad;
    learning_rate_ = learning_rate;
    begin_step(skip);
#ifdef LOCKSTEP_WITH_CUDA
    if (skip.is_cuda() && step_in_one_launch(gradient_divisor, skip)) return;
#endif
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

  // As step() was given it.
  const at::Tensor& learning_rate() const { return learning_rate_; }

  const OptimizerConfig config_;
  FlatParameters& parameters_;

 private:
#ifdef LOCKSTEP_WITH_CUDA
  // The whole update, shadow included; false: the rule has no kernel of its own, and update() is
  // called as on a CPU.
  virtual bool launch(const kernels::cuda::FlatUpdate& /*update*/, void* /*stream*/) {
    return false;
  }

  bool step_in_one_launch(const at::Tensor& gradient_divisor, const at::Tensor& skip) {
    if (!runs_.defined()) runs_ = update_runs(parameters_);
    const at::Tensor& master = parameters_.master();
    const at::Tensor& shadow = parameters_.shadow();
    bool launched = false;
    launch_kernel(master.device(), [&](void* stream) {
      launched =
          launch({.n = master.numel(),
                  .runs = static_cast<const kernels::cuda::UpdateRun*>(runs_.const_data_ptr()),
                  .master = master.mutable_data_ptr<float>(),
                  .gradient = parameters_.gradient_storage().const_data_ptr<float>(),
                  .shadow = shadow.defined() ? shadow.mutable_data_ptr() : nullptr,
                  .weight_decay = config_.weight_decay,
                  .rate = learning_rate_.const_data_ptr<float>(),
                  .divisor = gradient_divisor.const_data_ptr<float>(),
                  .skip = skip.const_data_ptr<float>()},
                 stream);
    });
    return launched;
  }

  at::Tensor runs_;  // on a GPU: update_runs()
#endif
  at::Tensor learning_rate_;
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
    // With dampening 0, momentum that starts at zero gives the bits of a first step of its own.
    at::_fused_sgd_(weights,
                    gradients,
                    momentum,
                    weight_decay(decay),
                    config_.momentum,
                    learning_rate().item<double>(),
                    /*dampening=*/0.0,
                    config_.nesterov,
                    /*maximize=*/false,
                    /*is_first_step=*/false,
                    gradient_divisor,
                    skip);
  }

#ifdef LOCKSTEP_WITH_CUDA
  bool launch(const kernels::cuda::FlatUpdate& update, void* stream) override {
    float* momentum = momentum_.defined() ? momentum_.mutable_data_ptr<float>() : nullptr;
    kernels::cuda::update_by_sgd(update, {momentum, config_.momentum, config_.nesterov}, stream);
    return true;
  }
#endif

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
    at::_fused_adamw_(weights,
                      gradients,
                      exp_avgs,
                      exp_avg_sqs,
                      /*max_exp_avg_sqs=*/{},
                      steps,
                      learning_rate().item<double>(),
                      config_.beta1,
                      config_.beta2,
                      weight_decay(decay),
                      config_.epsilon,
                      /*amsgrad=*/false,
                      /*maximize=*/false,
                      gradient_divisor,
                      skip);
  }

#ifdef LOCKSTEP_WITH_CUDA
  bool launch(const kernels::cuda::FlatUpdate& update, void* stream) override {
    kernels::cuda::update_by_adamw(update,
                                   {.exp_avg = exp_avg_.mutable_data_ptr<float>(),
                                    .exp_avg_sq = exp_avg_sq_.mutable_data_ptr<float>(),
                                    .step = step_.const_data_ptr<float>(),
                                    .beta1 = config_.beta1,
                                    .beta2 = config_.beta2,
                                    .epsilon = config_.epsilon},
                                   stream);
    return true;
  }
#endif

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

void Optimizer::step(double learning_rate,
                     const at::Tensor& gradient_divisor,
                     const at::Tensor& found_inf) {
  const auto dtype = found_inf.is_cuda() ? at::kFloat : at::kDouble;
  step(at::full({}, learning_rate, found_inf.options().dtype(dtype)),
       gradient_divisor,
       found_inf.ne(0).to(at::kFloat));
}

std::span<const UpdateRule> UpdateRule::table() { return kRules; }

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config,
                                          FlatParameters& parameters) {
  return config.name->make(config, parameters);
}

}  // namespace lockstep
