#include "lockstep/core/weights/initial_weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/name_prefix.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/class_names.h"
#include "lockstep/core/weights/class_rows.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/core/weights/weights.h"

namespace lockstep {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

std::string read_weights_file(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw_error(ExitCode::kUsage,
                "model.weights is {}, a folder: name a file, such as {}/best.safetensors",
                path,
                path);
  }
  std::string bytes = read_file(path);
  // A zip archive, or torch.save()'s older format. Fewer bytes could be a safetensors' length.
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02\x8a\x0a")) {
    throw_error(ExitCode::kUsage,
                "model.weights is {}, a pickle of PyTorch's: save it as safetensors first, in "
                "Python: safetensors.torch.save_file(torch.load('{}'), 'weights.safetensors')",
                path,
                path);
  }
  return bytes;
}

// Same shape but for the number of classes.
bool differs_in_classes(const at::Tensor& given, const at::Tensor& own) {
  return given.dim() == own.dim() && own.dim() > 0 && given.size(0) != own.size(0) &&
         given.sizes().slice(1) == own.sizes().slice(1);
}

// Puts the model's own values in place of what may stay fresh, and says so.
class FreshParts {
 public:
  FreshParts(const ImageClassifier& model, const Tensors& own, Tensors& given)
      : model_(model), own_(own), given_(given) {}

  std::vector<std::string> keep() {
    keep_auxiliary_heads();
    for (const std::string& layer : model_.last_layers()) keep_last_layer(layer);
    for (const auto& [name, tensor] : own_) {
      if (name.ends_with(".num_batches_tracked")) given_.emplace(name, tensor);
    }
    return std::move(notes_);
  }

 private:
  void keep_auxiliary_heads() {
    for (const std::string& head : model_.auxiliary_heads()) {
      const auto in_head = [&](const auto& item) { return lies_under(item.first, head); };
      if (std::ranges::any_of(given_, in_head)) continue;
      std::ranges::copy_if(own_, std::inserter(given_, given_.end()), in_head);
      notes_.push_back(fmt::format("auxiliary head {} is not in it: freshly initialised", head));
    }
  }

  void keep_last_layer(const std::string& layer) {
    const auto weight = given_.find(layer + ".weight");
    const auto own_weight = own_.find(layer + ".weight");
    if (weight == given_.end() || own_weight == own_.end() ||
        !differs_in_classes(weight->second, own_weight->second)) {
      return;
    }
    notes_.push_back(
        fmt::format("last layer {} has {} classes in it and {} here: freshly initialised",
                    layer,
                    weight->second.size(0),
                    own_weight->second.size(0)));
    for (const char* part : {".weight", ".bias"}) {
      const auto own = own_.find(layer + part);
      const auto given = given_.find(layer + part);
      if (own != own_.end() && given != given_.end() &&
          differs_in_classes(given->second, own->second)) {
        given->second = own->second;
      }
    }
  }

  const ImageClassifier& model_;
  const Tensors& own_;
  Tensors& given_;
  std::vector<std::string> notes_;
};

void require_finite(const Tensors& tensors, const std::string& path) {
  std::vector<std::string> faults;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.is_floating_point() && !tensor.isfinite().all().item<bool>())
      faults.push_back(fmt::format("'{}'", name));
  }
  if (!faults.empty()) {
    throw_error(ExitCode::kBadData,
                "{} holds NaN or infinity, so training could not start from it, in: {}",
                path,
                fmt::join(faults, ", "));
  }
}

// Which key would make it fit, where one would.
std::string advice(const Tensors& own, const Tensors& given, const SafetensorsFile& file) {
  std::vector<std::string> lines;
  for (const auto& [name, tensor] : own) {
    const auto it = given.find(name);
    if (it == given.end() || tensor.dim() != 4 || it->second.dim() != 4) continue;
    const int64_t here = tensor.size(2), there = it->second.size(2);
    const bool other_stem = (here == 3 && there == 7) || (here == 7 && there == 3);
    if (other_stem && tensor.size(0) == it->second.size(0)) {
      lines.push_back(
          fmt::format("its first layer is {0} x {0}, the model's {1} x {1}: set "
                      "model.stem={2}",
                      there,
                      here,
                      there == 7 ? "imagenet" : "cifar"));
      break;
    }
  }
  const auto is_compact = [](const Tensors& tensors) {
    return tensors.contains("classifier.weight");
  };
  const auto is_full = [](const Tensors& tensors) {
    return tensors.contains("classifier.6.weight");
  };
  if (is_compact(own) && is_full(given))
    lines.push_back("it has the three-layer classifier: set model.head=full");
  if (is_full(own) && is_compact(given))
    lines.push_back("it has the one-layer classifier: set model.head=compact");
  if (const auto model = file.metadata.find("model"); model != file.metadata.end())
    lines.push_back(fmt::format("it says that it was trained as model.name={}",
                                quote_for_message(model->second, '\'')));
  return lines.empty() ? "" : fmt::format("\n  ({})", fmt::join(lines, "; "));
}

}  // namespace

InitialWeights load_initial_weights(ImageClassifier& model,
                                    FlatParameters& parameters,
                                    const std::string& path,
                                    const std::vector<std::string>& class_names) {
  const std::string bytes = read_weights_file(path);
  const SafetensorsFile file = parse_safetensors(bytes, path);
  const NamedTensors exported = export_weights(model, parameters);
  const Tensors own(exported.begin(), exported.end());
  Tensors given(file.tensors.begin(), file.tensors.end());
  InitialWeights result{
      .sha256 = sha256_hex(bytes),
      .notes = {fmt::format("starting from {} ({} tensors)", path, given.size())}};
  const auto tell = [&](const std::vector<std::string>& notes) {
    result.notes.insert(result.notes.end(), notes.begin(), notes.end());
  };
  if (const auto trained = classes_in(file.metadata); trained && !class_names.empty())
    tell(match_class_rows(model.last_layers(), *trained, class_names, own, given));
  tell(FreshParts(model, own, given).keep());
  require_finite(given, path);
  try {
    import_weights(model, parameters, {given.begin(), given.end()}, path);
  } catch (const Error& error) {
    throw Error(error.code(), error.what() + advice(own, given, file));
  }
  return result;
}

}  // namespace lockstep
