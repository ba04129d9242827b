#include "lockstep/core/training/flat_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/core/base/error.h"

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

}  // namespace
}  // namespace lockstep
