// SGD and AdamW as one fused call per weight-decay group over flat memory. A new optimizer is a
// class and a row of the table in optimizer.cpp.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/flat_parameters.h"

namespace lockstep {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Updates the master weights from the gradient buffer divided by `gradient_divisor`, and
  // refreshes the leaves. `skip`: 1 changes nothing, momentum included; else 0. All [] on the
  // parameters' device, where they are read; float32, but the rate on a CPU is float64.
  virtual void step(const at::Tensor& learning_rate,
                    const at::Tensor& gradient_divisor,
                    const at::Tensor& skip) = 0;
  // With a rate that the host knows, and a flag ([] float32) of which all but 0 skips the update,
  // NaN and what a sum over ranks makes of 1 included.
  void step(double learning_rate, const at::Tensor& gradient_divisor, const at::Tensor& found_inf);
  // Flat float32 state by name ("momentum"; "exp_avg", "exp_avg_sq") in the layout of
  // FlatParameters::master(), and "step" [1].
  virtual std::map<std::string, at::Tensor> state() = 0;
};

// torch.optim.SGD (momentum, Nesterov, dampening 0; coupled weight decay) or torch.optim.AdamW
// (decoupled), as `config.name` says.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config,
                                          FlatParameters& parameters);

}  // namespace lockstep
