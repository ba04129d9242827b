#include "lockstep/core/weights/initial_weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

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
#include "lockstep/core/weights/wrapper_prefix.h"

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
    throw_error(
        ExitCode::kUsage,
        "model.weights is {0}, a pickle of PyTorch's, which could run any program: make a "
        "safetensors file of it (Python packages torch and safetensors):\n"
        "python3 -c \"import sys, torch, safetensors.torch as s; w = torch.load(sys.argv[1], "
        "map_location='cpu', weights_only=True); w = w.get('state_dict', w.get('model_state_dict', "
        "w.get('model', w))); "
        "s.save_file({{k: v.contiguous() for k, v in w.items()}}, sys.argv[2])\" {1} "
        "weights.safetensors",
        path,
        shell_word(path));
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

  // `frozen`: parts that are not trained.
  std::vector<std::string> keep(const std::set<std::string>& frozen) {
    keep_auxiliary_heads();
    for (const std::string& layer : model_.last_layers()) keep_last_layer(layer);
    for (const auto& [name, tensor] : own_) {
      if (name.ends_with(".num_batches_tracked")) given_.emplace(name, tensor);
    }
    for (const std::string& name : fresh_) {
      if (!frozen.contains(name)) continue;
      notes_.emplace_back("model.freeze holds some of that: it stays as the seed made it");
      break;
    }
    return std::move(notes_);
  }

 private:
  void keep_auxiliary_heads() {
    for (const std::string& head : model_.auxiliary_heads()) {
      const auto in_head = [&](const auto& item) { return lies_under(item.first, head); };
      if (std::ranges::any_of(given_, in_head)) continue;
      for (const auto& [name, tensor] : own_) {
        if (lies_under(name, head)) keep_fresh(name, tensor);
      }
      notes_.push_back(fmt::format("auxiliary head {} is not in it: freshly initialised", head));
    }
  }

  void keep_last_layer(const std::string& layer) {
    const auto own_weight = own_.find(layer + ".weight");
    if (own_weight == own_.end()) return;
    const auto in_layer = [&](const auto& item) { return lies_under(item.first, layer); };
    const auto weight = given_.find(layer + ".weight");
    if (std::ranges::none_of(given_, in_layer)) {
      notes_.push_back(fmt::format("last layer {} is not in it: freshly initialised", layer));
    } else if (weight != given_.end() && differs_in_classes(weight->second, own_weight->second)) {
      notes_.push_back(
          fmt::format("last layer {} has {} classes in it and {} here: freshly initialised",
                      layer,
                      weight->second.size(0),
                      own_weight->second.size(0)));
    } else {
      return;
    }
    for (const auto& [name, tensor] : own_) {
      if (!lies_under(name, layer)) continue;
      const auto given = given_.find(name);
      if (given == given_.end() ? weight == given_.end()
                                : differs_in_classes(given->second, tensor))
        keep_fresh(name, tensor);
    }
  }

  void keep_fresh(const std::string& name, const at::Tensor& own) {
    given_.insert_or_assign(name, own);
    fresh_.push_back(name);
  }

  const ImageClassifier& model_;
  const Tensors& own_;
  Tensors& given_;
  std::vector<std::string> notes_, fresh_;
};

std::set<std::string> frozen_parameters(const ImageClassifier& model) {
  std::set<std::string> frozen;
  for (const auto& item : model.named_parameters()) {
    if (!item.value().requires_grad()) frozen.insert(item.key());
  }
  return frozen;
}

void require_finite(const Tensors& tensors, const std::string& path) {
  constexpr size_t kMostNamed = 5;
  std::vector<std::string> named;
  size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.is_floating_point() || tensor.isfinite().all().item<bool>()) continue;
    if (++count <= kMostNamed) named.push_back(fmt::format("'{}'", name));
  }
  if (count == 0) return;
  throw_error(ExitCode::kBadData,
              "{} holds NaN or infinity, so training could not start from it, in: {}{}",
              path,
              fmt::join(named, ", "),
              count > named.size() ? fmt::format(" and {} more", count - named.size()) : "");
}

// Of names that most have a prefix, but not all: what keeps those alone.
std::string prefix_advice(const WrapperPrefix& prefix, size_t num_names, const std::string& path) {
  const std::string program = fmt::format(
      "import sys, safetensors.torch as s; p = sys.argv[1]; s.save_file({{k[len(p):]: v "
      "for k, v in s.load_file(sys.argv[2]).items() if k.startswith(p)}}, sys.argv[3])");
  return fmt::format(
      "{} of its {} names begin with {}, which the model's do not. To keep those alone, without "
      "it:\n"
      "python3 -c {} {} {} weights.safetensors",
      prefix.count,
      num_names,
      quote_for_message(prefix.text, '\''),
      shell_word(program),
      shell_word(prefix.text),
      shell_word(path));
}

// Which key would make it fit, where one would.
std::string advice(const Tensors& own,
                   const Tensors& given,
                   const SafetensorsFile& file,
                   const std::string& path) {
  std::vector<std::string> lines;
  if (const WrapperPrefix prefix = find_wrapper_prefix(own, given); !prefix.text.empty())
    lines.push_back(prefix_advice(prefix, file.tensors.size(), path));
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
  // Its last layer, classifier.6, is not missed by then.
  if (is_full(own) && given.contains("features.0.weight") && !is_compact(given) &&
      !given.contains("classifier.0.weight"))
    lines.push_back("it has no classifier: set model.head=compact, whose one layer starts fresh");
  if (const auto model = file.metadata.find("model"); model != file.metadata.end())
    lines.push_back(fmt::format("it says that it was trained as model.name={}",
                                quote_for_message(model->second, '\'')));
  return lines.empty() ? "" : fmt::format("\n{}", fmt::join(lines, "\n"));
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
  const WrapperPrefix prefix = find_wrapper_prefix(own, given);
  if (prefix.count > 0 && prefix.count == given.size()) {
    given = without_prefix(given, prefix.text);
    tell({fmt::format("all its names begin with {}, which is left out",
                      quote_for_message(prefix.text, '\''))});
  }
  if (const auto trained = classes_in(file.metadata); trained && !class_names.empty())
    tell(match_class_rows(model.last_layers(), *trained, class_names, own, given));
  tell(FreshParts(model, own, given).keep(frozen_parameters(model)));
  require_finite(given, path);
  try {
    import_weights(model, parameters, {given.begin(), given.end()}, path);
  } catch (const Error& error) {
    throw Error(error.code(), error.what() + advice(own, given, file, path));
  }
  return result;
}

}  // namespace lockstep
