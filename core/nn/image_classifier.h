// The interface of models.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "lockstep/core/nn/step_context.h"

namespace lockstep {

struct ClassifierOutput {
  at::Tensor logits;  // [N, num_classes]
  std::vector<at::Tensor>
      auxiliary_logits;  // of auxiliary heads, training only; each [N, num_classes]
};

// A network from images [N, channels, height, width] (normalised, in the precision's dtype) to
// class logits. Parameter and buffer names are torchvision's, so that weights travel both ways.
class ImageClassifier : public torch::nn::Module {
 public:
  using torch::nn::Module::Module;
  virtual ClassifierOutput forward(const at::Tensor& images, const StepContext& context) = 0;
  // Weight of each auxiliary head's loss in training.
  virtual double auxiliary_weight() const { return 0.0; }
  // The linear layers that end in class logits, those of auxiliary heads included: what depends on
  // the number of classes.
  virtual std::vector<std::string> last_layers() const { return {}; }
  // How many training images it would see before it is trained from its initial weights.
  virtual int64_t images_to_begin_with() const { return 0; }
  // Those, or all there are: [N, C, H, W] float32, normalised, on the CPU. The parameters are
  // float32 and initialised by then. What it makes of them becomes every rank's.
  virtual void begin_with(const at::Tensor& /*images*/) {}
  // The modules that training alone uses.
  virtual std::vector<std::string> auxiliary_heads() const { return {}; }
};

}  // namespace lockstep
