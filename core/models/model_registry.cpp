#include "lockstep/core/models/model_registry.h"

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <numbers>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/suggestion.h"
#include "lockstep/core/models/googlenet.h"
#include "lockstep/core/models/resnet.h"
#include "lockstep/core/models/vgg.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/random/random.h"

namespace lockstep {
namespace {

constexpr const char* kCifarResnet = "CIFAR ResNet, shortcut A (He et al. 2015, section 4.2)";
constexpr const char* kResnet = "ResNet (He et al. 2015, table 1)";
constexpr const char* kBottleneckResnet = "ResNet, stride on the 3x3 (He et al. 2015, table 1)";
constexpr const char* kVgg = "VGG (Simonyan and Zisserman 2014, table 1)";
constexpr const char* kVggBn = "VGG with batch norm (Simonyan and Zisserman 2014, table 1)";
constexpr const char* kGooglenet = "GoogLeNet, two auxiliary heads (Szegedy et al. 2014)";
constexpr const char* kGooglenetBn =
    "GoogLeNet with batch norm, two auxiliary heads (Szegedy et al. 2014)";

float uniform(uint32_t bits) {
  return (static_cast<float>(bits >> 8) + 0.5f) * 0x1p-24f;
}  // in (0, 1)

// Fills `tensor` (float32, CPU, any strides) in logical order with `value(four random words, index
// within them)`; the numbers depend on (seed, parameter number, element) alone.
template <typename Value>
void fill(const at::Tensor& tensor, const Philox& random, uint32_t parameter, Value&& value) {
  at::Tensor numbers = at::empty(tensor.sizes(), at::kFloat);
  float* out = numbers.mutable_data_ptr<float>();
  const int64_t count = numbers.numel();
  for (int64_t i = 0; i < count; i += 4) {
    const auto words =
        random(static_cast<uint32_t>(i / 4), static_cast<uint32_t>(i >> 34), parameter);
    for (int64_t j = 0; j < std::min<int64_t>(4, count - i); ++j) out[i + j] = value(words, j);
  }
  tensor.copy_(numbers);
}

void fill_normal(const at::Tensor& tensor,
                 const Philox& random,
                 uint32_t parameter,
                 double deviation) {
  fill(tensor, random, parameter, [&](const std::array<uint32_t, 4>& words, int64_t j) {
    // Box-Muller: words 0, 1 make values 0, 1 and words 2, 3 make values 2, 3.
    const size_t pair = static_cast<size_t>(j) / 2 * 2;
    const double radius = std::sqrt(-2.0 * std::log(uniform(words[pair])));
    const double angle = 2.0 * std::numbers::pi * uniform(words[pair + 1]);
    return static_cast<float>(deviation * radius *
                              (j % 2 == 0 ? std::cos(angle) : std::sin(angle)));
  });
}

void fill_uniform(const at::Tensor& tensor,
                  const Philox& random,
                  uint32_t parameter,
                  double bound) {
  fill(tensor, random, parameter, [&](const std::array<uint32_t, 4>& words, int64_t j) {
    return static_cast<float>(bound * (2.0 * uniform(words[static_cast<size_t>(j)]) - 1.0));
  });
}

}  // namespace

const std::vector<ModelEntry>& registered_models() {
  using models::make_cifar_resnet, models::make_resnet, models::make_vgg, models::make_googlenet;
  using Options = const ModelOptions&;
  static const std::vector<ModelEntry> models = {
      {"resnet20", kCifarResnet, [](Options o) { return make_cifar_resnet(20, o); }, true},
      {"resnet32", kCifarResnet, [](Options o) { return make_cifar_resnet(32, o); }, true},
      {"resnet44", kCifarResnet, [](Options o) { return make_cifar_resnet(44, o); }, true},
      {"resnet56", kCifarResnet, [](Options o) { return make_cifar_resnet(56, o); }, true},
      {"resnet110", kCifarResnet, [](Options o) { return make_cifar_resnet(110, o); }, true},
      {"resnet18", kResnet, [](Options o) { return make_resnet(18, o); }, true},
      {"resnet34", kResnet, [](Options o) { return make_resnet(34, o); }, true},
      {"resnet50", kBottleneckResnet, [](Options o) { return make_resnet(50, o); }, true},
      {"resnet101", kBottleneckResnet, [](Options o) { return make_resnet(101, o); }, true},
      {"resnet152", kBottleneckResnet, [](Options o) { return make_resnet(152, o); }, true},
      {"vgg11", kVgg, [](Options o) { return make_vgg(11, false, o); }},
      {"vgg13", kVgg, [](Options o) { return make_vgg(13, false, o); }},
      {"vgg16", kVgg, [](Options o) { return make_vgg(16, false, o); }},
      {"vgg19", kVgg, [](Options o) { return make_vgg(19, false, o); }},
      {"vgg11_bn", kVggBn, [](Options o) { return make_vgg(11, true, o); }},
      {"vgg13_bn", kVggBn, [](Options o) { return make_vgg(13, true, o); }},
      {"vgg16_bn", kVggBn, [](Options o) { return make_vgg(16, true, o); }},
      {"vgg19_bn", kVggBn, [](Options o) { return make_vgg(19, true, o); }},
      {"googlenet", kGooglenet, [](Options o) { return make_googlenet(false, o); }},
      {"googlenet_bn", kGooglenetBn, [](Options o) { return make_googlenet(true, o); }},
  };
  return models;
}

const ModelEntry& find_model(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelEntry& entry : registered_models()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const std::string advice = did_you_mean(name, names);
  throw_error(ExitCode::kUsage,
              "unknown model {}{}",
              quote_for_message(name, '\''),
              advice.empty() ? ": `lockstep models` lists them all" : advice);
}

ModelOptions model_options(const ModelConfig& config,
                           int64_t num_classes,
                           int64_t image_channels,
                           int64_t image_size) {
  ModelOptions options{
      .num_classes = num_classes, .image_channels = image_channels, .image_size = image_size};
  if (config.dropout >= 0) options.dropout = config.dropout;
  if (config.stem != "auto") {
    options.stem = config.stem == "imagenet" ? ModelStem::kImagenet : ModelStem::kCifar;
  }
  if (config.head == "compact") options.head = ModelHead::kCompact;
  options.stochastic_depth = config.stochastic_depth;
  return options;
}

void check_model(const std::string& name, double stochastic_depth) {
  if (find_model(name).has_residual_blocks || stochastic_depth == 0) return;
  throw_error(ExitCode::kUsage,
              "model.stochastic_depth is {}, but {} has no residual blocks to skip: set it to 0 or "
              "choose a ResNet",
              stochastic_depth,
              name);
}

std::shared_ptr<ImageClassifier> make_model(const std::string& name,
                                            const ModelOptions& options,
                                            uint64_t seed) {
  check_model(name, options.stochastic_depth);
  auto model = find_model(name).make(options);
  initialise(*model, seed);
  return model;
}

void initialise(torch::nn::Module& module, uint64_t seed) {
  const at::NoGradGuard no_grad;
  const Philox random(seed, RandomUse::kInitialisation);
  uint32_t parameter = 0;
  // Not modules(): that would refuse a module on the stack.
  module.apply([&](torch::nn::Module& child) {
    if (auto* conv = child.as<torch::nn::Conv2dImpl>()) {
      // A norm that follows makes up for the size of activations. A convolution with a bias may be
      // without one: there it is activations that keep their size.
      const int64_t kept = conv->weight.size(conv->bias.defined() ? 0 : 1);
      const double fan = static_cast<double>(conv->weight.numel() / kept);
      fill_normal(conv->weight, random, parameter++, std::sqrt(2.0 / fan));
      if (conv->bias.defined()) conv->bias.zero_();
    } else if (auto* linear = child.as<torch::nn::LinearImpl>()) {
      const double bound = 1.0 / std::sqrt(static_cast<double>(linear->weight.size(1)));
      fill_uniform(linear->weight, random, parameter++, bound);
      if (linear->bias.defined()) fill_uniform(linear->bias, random, parameter++, bound);
    }
  });
}

}  // namespace lockstep
