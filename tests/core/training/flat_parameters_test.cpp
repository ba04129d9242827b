#include "lockstep/core/training/flat_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/core/training/optimizer.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

using Named = std::vector<std::pair<std::string, at::Tensor>>;

std::shared_ptr<torch::nn::Module> module_of(const Named& parameters) {
  auto module = std::make_shared<torch::nn::Module>();
  for (const auto& [name, tensor] : parameters) module->register_parameter(name, tensor);
  return module;
}

// The message with which the module is refused; empty when it is taken.
std::string refusal(const std::shared_ptr<torch::nn::Module>& module) {
  try {
    const FlatParameters parameters(*module, {});
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
    return error.what();
  }
}

TEST(FlatParameters, RefuseOneTensorUnderTwoNames) {
  const at::Tensor shared = torch::ones({4, 3});
  const std::string message = refusal(module_of({{"encoder", shared}, {"decoder", shared}}));
  EXPECT_THAT(message, HasSubstr("'encoder'"));
  EXPECT_THAT(message, HasSubstr("'decoder'"));
}

TEST(FlatParameters, RefuseOneModuleUnderTwoNames) {
  const auto module = std::make_shared<torch::nn::Module>();
  const torch::nn::Linear layer(3, 4);
  module->register_module("first", layer.ptr());
  module->register_module("second", layer.ptr());
  EXPECT_THAT(refusal(module), HasSubstr("'first.bias' and 'second.bias'"));
}

TEST(FlatParameters, RefuseViewsOfOneAnother) {
  const at::Tensor whole = torch::ones({4, 3});
  EXPECT_THAT(refusal(module_of({{"encoder", whole}, {"decoder", whole.t()}})), HasSubstr("tied"));
  const Named overlapping = {{"low", whole.narrow(0, 0, 3)}, {"high", whole.narrow(0, 2, 2)}};
  EXPECT_THAT(refusal(module_of(overlapping)), HasSubstr("tied"));
}

TEST(FlatParameters, TakeNeighboursInOneBuffer) {
  const at::Tensor whole = torch::arange(12.0f).view({4, 3});
  const auto module = module_of({{"low", whole.narrow(0, 0, 2)}, {"high", whole.narrow(0, 2, 2)}});
  ASSERT_EQ(refusal(module), "");
  EXPECT_EQ(module->named_parameters()["high"].sizes(), at::IntArrayRef({2, 3}));
}

bool is_aligned(const at::Tensor& tensor) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const int64_t bytes = FlatParameters::kAlignment * tensor.element_size();
  // The buffers themselves lie where LibTorch's allocator puts them, at 64 bytes on a CPU and 512
  // on a GPU.
  return tensor.storage_offset() % FlatParameters::kAlignment == 0 &&
         address % static_cast<uintptr_t>(std::min<int64_t>(bytes, 64)) == 0;
}

// The last layer of ten classes has a bias of 10 elements, which lies first: packed without padding
// it leaves every weight behind it at 4 bytes, where cuDNN has no engine for tensor cores.
TEST(FlatParameters, EveryTensorIsAlignedForTensorCores) {
  for (const bool bf16 : {false, true}) {
    for (const char* name : {"resnet20", "vgg11_bn", "googlenet_bn"}) {
      const auto model = make_model(name, {}, 1);
      FlatParameters flat(*model, {.bf16 = bf16, .channels_last = true, .bucket_bytes = 64 << 10});
      flat.reserve_extras(5);
      int64_t parameters = 0;
      for (const FlatEntry& entry : flat.entries()) {
        parameters += entry.count;
        for (const at::Tensor& tensor : {entry.leaf, entry.master, entry.gradient})
          EXPECT_TRUE(is_aligned(tensor)) << name << ' ' << entry.name;
      }
      EXPECT_EQ(flat.num_elements() % FlatParameters::kAlignment, 0);
      EXPECT_EQ(flat.num_parameters(), parameters);
      EXPECT_GT(flat.num_elements(), parameters);
    }
  }
}

// The elements of a buffer that belong to no parameter.
at::Tensor padding_of(const FlatParameters& parameters, const at::Tensor& flat) {
  const at::Tensor outside = torch::ones({parameters.num_elements()}, torch::kBool);
  for (const FlatEntry& entry : parameters.entries())
    outside.narrow(0, entry.offset, entry.count).fill_(false);
  return flat.masked_select(outside);
}

TEST(FlatParameters, PaddingIsZeroAndStaysZero) {
  for (const char* rule : {"sgd", "adamw"}) {
    const auto model = make_model("resnet20", {}, 1);
    FlatParameters flat(*model, {.bf16 = true});
    OptimizerConfig config;
    config.name = rule;
    config.momentum = 0.9;
    config.weight_decay = 0.1;
    const auto optimizer = make_optimizer(config, flat);
    WeightAverage average(*model, flat, 0.5);
    for (int step = 0; step < 3; ++step) {
      for (const FlatEntry& entry : flat.entries()) entry.gradient.fill_(1.0);
      optimizer->step(0.1, at::full({}, 8.0), at::zeros({}));
      average.update();
    }
    const auto expect_zero = [&](const at::Tensor& buffer, const std::string& what) {
      const at::Tensor padding = padding_of(flat, buffer);
      EXPECT_EQ(padding.numel(), flat.num_elements() - flat.num_parameters());
      EXPECT_TRUE(at::equal(padding, at::zeros_like(padding))) << rule << ' ' << what;
    };
    expect_zero(flat.master(), "weights");
    expect_zero(flat.gradient(), "gradient");
    for (const auto& [name, state] : optimizer->state())
      if (state.numel() > 1) expect_zero(state, name);
    average.swap();
    expect_zero(flat.master(), "average");
  }
}

}  // namespace
}  // namespace lockstep
