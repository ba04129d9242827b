// A user's own module as the model of a whole run.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/core/models/initialisation.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/nn/step_context.h"

namespace lockstep {

struct OwnModelOptions {
  // Gives every parameter its initial value from the configuration's seed. Absent: all ranks start
  // from what the module holds on rank 0.
  std::function<void(InitialValues&)> initialise;
  // Takes modules too whose numbers depend on how many ranks there are; the run says so.
  bool allow_rank_dependent = false;
};

// Class logits [N, classes] of images [N, C, H, W] (normalised, in the precision's dtype), of no
// images too. What draws random numbers or norms over the batch takes the context.
using OwnForward = std::function<at::Tensor(const at::Tensor& images, const StepContext& context)>;

// `module`, on the CPU, as a model that a trainer takes (TrainerOptions::own_model). Weights keep
// the module's names. Throws Error(kUsage), naming each, for LibTorch's norms with running
// statistics and its dropout below the module: each rank's would see its own slice, or draw from a
// generator that knows no rank; BatchNorm, dropout() and their kin in lockstep/core/nn do not.
std::shared_ptr<ImageClassifier> own_model(std::shared_ptr<torch::nn::Module> module,
                                           OwnForward forward,
                                           uint64_t seed,
                                           const OwnModelOptions& options = {});

// The paths of such modules and what to use instead, a line each.
std::vector<std::string> rank_dependent_modules(const torch::nn::Module& module);

}  // namespace lockstep
