// Initial weights: a function of the seed and the model alone, the same on every rank and at every
// world size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/random/random.h"

namespace lockstep {

// Hands out random numbers, to each call a stream of its own: the numbers depend on the seed and
// on the order of the calls.
class InitialValues {
 public:
  explicit InitialValues(uint64_t seed) : random_(seed, RandomUse::kInitialisation) {}

  // Fill `tensor` (float32, CPU, any strides) in logical order.
  void normal(const at::Tensor& tensor, double deviation);
  void uniform(const at::Tensor& tensor, double bound);  // in (-bound, bound)

  // Initialises `module` and all below it by initialise()'s rules. `name`: its path, for messages.
  void module(torch::nn::Module& module, const std::string& name);

 private:
  template <typename Value>
  void fill(const at::Tensor& tensor, Value&& value);

  Philox random_;
  uint32_t next_stream_ = 0;
};

// For a module class with parameters of its own, or with modules below it that initialise() does
// not know or should treat otherwise.
class InitialisesItself {
 public:
  virtual ~InitialisesItself() = default;
  // Gives every parameter of this module and of those below it its initial value; for children
  // with nothing special, by values.module(child, name).
  virtual void initialise(InitialValues& values) = 0;
};

// Weights as He et al. 2015 (arXiv 1502.01852; normal, gain sqrt 2) for convolutions, with fan-out
// as torchvision's ResNet, with fan-in where there is a bias; ones and zeros for norms; PyTorch's
// default (Kaiming-uniform with a = sqrt 5: U(±1/sqrt fan_in)) for linear layers; what
// InitialisesItself says for classes of that kind. Throws Error(kInternal) that names any other
// module with parameters: LibTorch would have filled them from its global generator, which knows
// neither seed nor rank.
void initialise(torch::nn::Module& module, uint64_t seed);

}  // namespace lockstep
