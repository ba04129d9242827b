#include "lockstep/core/weights/class_rows.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include "lockstep/core/weights/class_names.h"

namespace lockstep {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

// Whether `given` holds such a tensor in the model's shape. What does not fit is told elsewhere.
bool fits(const std::string& name, const Tensors& own, const Tensors& given) {
  const auto mine = own.find(name);
  const auto other = given.find(name);
  return mine != own.end() && other != given.end() && mine->second.sizes() == other->second.sizes();
}

}  // namespace

std::vector<std::string> match_class_rows(const std::vector<std::string>& last_layers,
                                          const std::vector<std::string>& trained,
                                          const std::vector<std::string>& wanted,
                                          const Tensors& own,
                                          Tensors& given) {
  if (trained == wanted || trained.size() != wanted.size()) return {};
  const auto places = places_in(trained, wanted);
  if (last_layers.empty()) {
    return {
        fmt::format("it was trained on {} ({}), and which layer is the last is not known: all "
                    "stays as it is",
                    places ? "these classes in another order" : "other classes",
                    class_list(trained))};
  }
  std::vector<std::string> notes;
  for (const std::string& layer : last_layers) {
    if (!fits(layer + ".weight", own, given)) continue;
    for (const std::string& name : {layer + ".weight", layer + ".bias"}) {
      if (!fits(name, own, given)) continue;
      at::Tensor& rows = given.at(name);
      rows = places ? rows.index_select(0, at::tensor(*places)) : own.at(name);
    }
    notes.push_back(
        places ? fmt::format("last layer {}: its classes are matched by their names", layer)
               : fmt::format("last layer {} was trained on other classes ({}): freshly initialised",
                             layer,
                             class_list(trained)));
  }
  return notes;
}

}  // namespace lockstep
