#include "lockstep/core/models/initialisation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/ranges.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {
namespace {

float unit_uniform(uint32_t bits) {
  return (static_cast<float>(bits >> 8) + 0.5f) * 0x1p-24f;
}  // in (0, 1)

std::string path(const std::string& parent, const std::string& child) {
  return parent.empty() ? child : parent + "." + child;
}

}  // namespace

// Calls `value(four random words, index within them)`; the numbers depend on (seed, stream,
// element) alone.
template <typename Value>
void InitialValues::fill(const at::Tensor& tensor, Value&& value) {
  const at::NoGradGuard no_grad;
  const uint32_t stream = next_stream_++;
  at::Tensor numbers = at::empty(tensor.sizes(), at::kFloat);
  float* out = numbers.mutable_data_ptr<float>();
  const int64_t count = numbers.numel();
  for (int64_t i = 0; i < count; i += 4) {
    const auto words =
        random_(static_cast<uint32_t>(i / 4), static_cast<uint32_t>(i >> 34), stream);
    for (int64_t j = 0; j < std::min<int64_t>(4, count - i); ++j) out[i + j] = value(words, j);
  }
  tensor.copy_(numbers);
}

void InitialValues::normal(const at::Tensor& tensor, double deviation) {
  fill(tensor, [&](const std::array<uint32_t, 4>& words, int64_t j) {
    // Box-Muller: words 0, 1 make values 0, 1 and words 2, 3 make values 2, 3.
    const size_t pair = static_cast<size_t>(j) / 2 * 2;
    const double radius = std::sqrt(-2.0 * std::log(unit_uniform(words[pair])));
    const double angle = 2.0 * std::numbers::pi * unit_uniform(words[pair + 1]);
    return static_cast<float>(deviation * radius *
                              (j % 2 == 0 ? std::cos(angle) : std::sin(angle)));
  });
}

void InitialValues::uniform(const at::Tensor& tensor, double bound) {
  fill(tensor, [&](const std::array<uint32_t, 4>& words, int64_t j) {
    return static_cast<float>(bound * (2.0 * unit_uniform(words[static_cast<size_t>(j)]) - 1.0));
  });
}

void InitialValues::module(torch::nn::Module& module, const std::string& name) {
  const at::NoGradGuard no_grad;
  if (auto* own = dynamic_cast<InitialisesItself*>(&module)) return own->initialise(*this);
  if (auto* conv = module.as<torch::nn::Conv2dImpl>()) {
    // A norm that follows makes up for the size of activations. A convolution with a bias may be
    // without one: there it is activations that keep their size.
    const int64_t kept = conv->weight.size(conv->bias.defined() ? 0 : 1);
    const int64_t fan = conv->weight.numel() / kept;
    normal(conv->weight, std::sqrt(2.0 / static_cast<double>(fan)));
    if (conv->bias.defined()) conv->bias.zero_();
  } else if (auto* linear = module.as<torch::nn::LinearImpl>()) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(linear->weight.size(1)));
    uniform(linear->weight, bound);
    if (linear->bias.defined()) uniform(linear->bias, bound);
  } else if (auto* norm = module.as<BatchNorm>()) {
    norm->weight.fill_(1);
    norm->bias.zero_();
  } else if (const auto parameters = module.named_parameters(/*recurse=*/false);
             !parameters.is_empty()) {
    throw_error(ExitCode::kInternal,
                "{} is a {}, which has parameters ({}) but no rule for their initial values: let "
                "its class, or that of a module around it, be an InitialisesItself "
                "(core/models/initialisation.h)",
                name.empty() ? "the model" : name,
                module.name(),
                fmt::join(parameters.keys(), ", "));
  }
  // Not modules(): that would refuse a module on the stack.
  for (const auto& child : module.named_children())
    this->module(*child.value(), path(name, child.key()));
}

void initialise(torch::nn::Module& module, uint64_t seed) {
  InitialValues(seed).module(module, "");
}

}  // namespace lockstep
