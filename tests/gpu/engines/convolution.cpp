#include "tests/gpu/engines/convolution.h"

#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/training/flat_parameters.h"

namespace lockstep::engines {
namespace {

std::vector<Convolution>* found = nullptr;  // of the pass under way

// As ATen tells cuDNN of a tensor's address: the power of two that divides it, at most 32.
int64_t alignment_of(const at::Tensor& weight) {
  const int64_t bytes = weight.storage_offset() * weight.element_size();
  int64_t alignment = 1;
  while (alignment < 32 && bytes % (2 * alignment) == 0) alignment *= 2;
  return alignment;
}

std::unique_ptr<at::ObserverContext> note_convolution(const at::RecordFunction& function) {
  if (std::string(function.name()) != "aten::conv2d") return nullptr;
  const auto inputs = function.inputs();
  const at::Tensor &x = inputs[0].toTensor(), &weight = inputs[1].toTensor();
  found->push_back({.name = "",
                    .in_channels = x.size(1),
                    .height = x.size(2),
                    .width = x.size(3),
                    .out_channels = weight.size(0),
                    .kernel = {weight.size(2), weight.size(3)},
                    .stride = inputs[3].toIntVector(),
                    .padding = inputs[4].toIntVector(),
                    .weight_alignment = alignment_of(weight)});
  return nullptr;
}

}  // namespace

std::vector<Convolution> convolutions_of(const std::string& name) {
  const auto model = make_model(name, {}, 1);
  const FlatParameters parameters(*model, {.bf16 = true, .channels_last = true});
  model->eval();
  std::vector<Convolution> convolutions;
  found = &convolutions;
  const at::CallbackHandle handle =
      at::addThreadLocalCallback(at::RecordFunctionCallback(note_convolution)
                                     .needsInputs(true)
                                     .scopes({at::RecordScope::FUNCTION}));
  const at::NoGradGuard no_grad;
  model->forward(
      at::zeros({1, 3, 32, 32}, at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast),
      StepContext{});
  at::removeCallback(handle);
  for (size_t i = 0; i < convolutions.size(); ++i)
    convolutions[i].name = name + ", convolution " + std::to_string(i + 1);
  return convolutions;
}

}  // namespace lockstep::engines
