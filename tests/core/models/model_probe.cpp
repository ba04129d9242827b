// Runs one model for reference_models_test.py, which does the same in PyTorch and compares.
//
//   model_probe MODEL CLASSES SIDE STEM HEAD IN.safetensors OUT.safetensors
//
// IN: images [N, 3, SIDE, SIDE] float32, labels [N] int64 and, where weights come from there,
// weight.NAME for all of them. OUT: weight.NAME (before the step), logits (evaluation), loss (mean
// over N, auxiliary heads included, dropout 0), gradient.NAME of that loss, running.NAME
// (statistics after one training step).
#include <fmt/format.h>
#include <torch/torch.h>

#include <string>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/loss.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/core/weights/weights.h"

namespace lockstep {
namespace {

constexpr const char* kWeight = "weight.";

void add(NamedTensors& tensors, const std::string& prefix, const NamedTensors& more) {
  for (const auto& [name, tensor] : more) tensors.emplace_back(prefix + name, tensor);
}

NamedTensors given_weights(const SafetensorsFile& input) {
  NamedTensors weights;
  for (const auto& [name, tensor] : input.tensors) {
    if (name.starts_with(kWeight)) weights.emplace_back(name.substr(std::strlen(kWeight)), tensor);
  }
  return weights;
}

const at::Tensor& input_tensor(const SafetensorsFile& input, const std::string& wanted) {
  for (const auto& [name, tensor] : input.tensors) {
    if (name == wanted) return tensor;
  }
  throw_error(ExitCode::kBadData, "the input has no tensor '{}'", wanted);
}

at::Tensor training_loss(ImageClassifier& model,
                         const at::Tensor& images,
                         const at::Tensor& labels) {
  StepContext context;
  context.training = true;
  const ClassifierOutput output = model.forward(images, context);
  at::Tensor loss = cross_entropy_sums(output.logits, labels, 0).loss;
  for (const at::Tensor& logits : output.auxiliary_logits)
    loss = loss + model.auxiliary_weight() * cross_entropy_sums(logits, labels, 0).loss;
  return loss / images.size(0);
}

int run(char** argv) {
  const std::string name = argv[1];
  const ModelConfig config{.name = name,
                           .dropout = 0,
                           .stem = value_called<ModelStem>(argv[4]),
                           .head = value_called<ModelHead>(argv[5])};
  const auto model =
      make_model(name, model_options(config, std::stoll(argv[2]), 3, std::stoll(argv[3])), 1);
  FlatParameters parameters(*model, {});
  const SafetensorsFile input = load_safetensors(argv[6]);
  if (const NamedTensors weights = given_weights(input); !weights.empty())
    import_weights(*model, parameters, weights, argv[6]);

  NamedTensors output;
  add(output, kWeight, export_weights(*model, parameters));
  const at::Tensor& images = input_tensor(input, "images");
  {
    const at::NoGradGuard no_grad;
    model->eval();
    output.emplace_back("logits", model->forward(images, StepContext{}).logits.contiguous());
    model->train();
  }
  const at::Tensor loss = training_loss(*model, images, input_tensor(input, "labels"));
  loss.backward();
  output.emplace_back("loss", loss.detach());
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad())
      output.emplace_back("gradient." + item.key(), item.value().grad().contiguous());
  }
  for (const auto& item : model->named_buffers())
    output.emplace_back("running." + item.key(), item.value());
  write_file_durably(argv[7], safetensors_bytes(output, {}));
  return 0;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  if (argc != 8) return 64;
  try {
    return lockstep::run(argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "model_probe: {}\n", error.what());
    return 70;
  }
}
