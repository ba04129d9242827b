// The running statistics of all batch-norm layers of a model as flat memory, updated once per
// update from reduced sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

namespace kernels {
struct RunningStatistics;
}

// Finds every BatchNorm in `module` that is not frozen and re-points its running buffers and
// contributions into flat tensors. The module must live on its final device. The layers keep
// working as before; this object must outlive their training.
class BatchNormState {
 public:
  explicit BatchNormState(torch::nn::Module& module);

  // What a step's forward passes have added, float32 [contribution_size()]: the caller lets it
  // travel with the gradients. `storage` becomes that memory (a slice of the caller's reduction
  // buffer).
  int64_t contribution_size() const { return 2 * num_channels_ + 2 * num_layers_; }
  void attach(const at::Tensor& storage);

  // Moves the running statistics by the sums in the attached storage (equal on all ranks by then):
  // running = (1 - momentum) running + momentum * sum / images, per layer; a layer without
  // contribution keeps its values. Counts one batch. `skip` ([] float32 on the model's device): 1
  // changes nothing; undefined is 0.
  void update(const at::Tensor& skip = {});

 private:
  kernels::RunningStatistics running_statistics() const;

  int64_t num_layers_ = 0, num_channels_ = 0;
  std::vector<std::shared_ptr<torch::nn::Module>> layers_;
  at::Tensor running_mean_, running_var_, num_batches_;  // [channels], [channels], [layers] int64
  at::Tensor momentum_;                                  // [channels]
  at::Tensor layer_of_channel_;                          // [channels] int64
  at::Tensor storage_;
};

}  // namespace lockstep
