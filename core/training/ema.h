// The exponential moving average of a model's weights.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/core/training/flat_parameters.h"

namespace lockstep {

// average = decay * average + (1 - decay) * weights after every update, from the weights at
// construction on (timm's ModelEmaV2; torch.optim.swa_utils.get_ema_multi_avg_fn). Running
// statistics are averaged alike (use_buffers=True, as torchvision's reference training): the
// averaged weights lag behind, and so must the statistics they are normalised with. Integer
// buffers are copied. float32, one flat tensor in the layout of FlatParameters::master() and one a
// buffer; equal on all ranks, as the weights are.
class WeightAverage {
 public:
  // `decay` in [0, 1). Module and parameters must outlive it.
  WeightAverage(const torch::nn::Module& module, FlatParameters& parameters, double decay);

  // Begins anew from the weights as they are now: after they have been read from a file.
  void restart();
  // After an update. `skip` ([] float32 on the parameters' device): 1 changes nothing; undefined is
  // 0.
  void update(const at::Tensor& skip = {});
  // The flat weights' average, then one a floating-point buffer, in the module's order.
  const std::vector<at::Tensor>& averages() const { return averaged_.average; }
  // Exchanges the model's weights and the average, in place: evaluating, exporting and importing
  // the model then concerns the average. A second time undoes it.
  void swap();

 private:
  FlatParameters& parameters_;
  double decay_;
  // The model's, and the average of each at the same place.
  struct Tensors {
    std::vector<at::Tensor> current, average;
    void copy();  // the current ones become the averages
  };
  Tensors averaged_;  // the flat master and the floating-point buffers
  Tensors copied_;    // the other buffers
};

// The part of an average after so many updates that is still the weights it began with.
double initial_share(double decay, int64_t updates);

// Whether that part is so large (a hundredth) that the average says little of what was learnt.
bool average_lags(double decay, int64_t updates);

// A decay whose average forgets its beginning within a run of so many updates, to one digit of
// 1 - decay; 0, which is no averaging: the run is too short for any.
double fitting_decay(int64_t updates);

// Runs `action` while the model holds the average; without one (null) the model stays as it is.
// After an exception the average stays in the model: it ends the run.
template <typename Action>
void with_average(WeightAverage* average, Action&& action) {
  if (average) average->swap();
  action();
  if (average) average->swap();
}

}  // namespace lockstep
