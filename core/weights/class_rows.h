// The rows of a classifier's last layers, one a class, when its weights start another run.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace lockstep {

// Puts the rows of the last layers among `given`, trained on the classes `trained`, in the order of
// `wanted`, where both are the same classes; where they are others, though as many, the model's own
// rows take their place. Nothing is done for lists of different lengths, and for tensors of other
// shapes than the model's. Returns what was done, a line for people each.
std::vector<std::string> match_class_rows(const std::vector<std::string>& last_layers,
                                          const std::vector<std::string>& trained,
                                          const std::vector<std::string>& wanted,
                                          const std::map<std::string, at::Tensor>& own,
                                          std::map<std::string, at::Tensor>& given);

}  // namespace lockstep
