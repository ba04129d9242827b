// What wrappers put before the names of a model's tensors: "module." (DistributedDataParallel),
// "_orig_mod." (torch.compile), "model." (Lightning).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <string>

namespace lockstep {

struct WrapperPrefix {
  std::string text;  // with its dot; of several wrappers all; empty: there is none
  size_t count = 0;  // of the given names that begin with it
};

// The prefix under which `given` has more than half of the names of `own`.
WrapperPrefix find_wrapper_prefix(const std::map<std::string, at::Tensor>& own,
                                  const std::map<std::string, at::Tensor>& given);

// The tensors under their names without `prefix`, with which all begin.
std::map<std::string, at::Tensor> without_prefix(const std::map<std::string, at::Tensor>& given,
                                                 const std::string& prefix);

}  // namespace lockstep
