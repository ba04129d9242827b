// A program's own module as a model: what is refused, what it starts from, what its weights are
// called.
#include "lockstep/distributed/run/own_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <future>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Net : torch::nn::Module {
  torch::nn::Sequential body =
      register_module("body", torch::nn::Sequential(torch::nn::Linear(4, 4), torch::nn::ReLU()));
  torch::nn::Linear head = register_module("head", torch::nn::Linear(4, 2));
  at::Tensor scale = register_parameter("scale", torch::ones({1}));

  at::Tensor forward(const at::Tensor& x) { return scale * head(body->forward(x.flatten(1))); }
};

std::shared_ptr<ImageClassifier> as_model(const std::shared_ptr<Net>& net,
                                          const OwnModelOptions& options = {}) {
  const auto forward = [net](const at::Tensor& x, const StepContext&) { return net->forward(x); };
  return own_model(net, forward, /*seed=*/7, options);
}

TEST(OwnModel, KeepsTheModulesNamesAndItsParameters) {
  const auto net = std::make_shared<Net>();
  const auto model = as_model(net);
  std::vector<std::string> names;
  for (const auto& item : model->named_parameters()) names.push_back(item.key());
  EXPECT_THAT(names,
              ElementsAre("scale", "body.0.weight", "body.0.bias", "head.weight", "head.bias"));
  const at::Tensor x = torch::randn({3, 1, 2, 2});
  const at::NoGradGuard no_grad;
  model->named_parameters()["scale"].fill_(3.0);
  EXPECT_TRUE(at::equal(model->forward(x, {}).logits, net->forward(x)));
  EXPECT_EQ(net->scale.item<float>(), 3.0f);
}

TEST(OwnModel, RefusesModulesThatSeeOneRankAloneByName) {
  const auto net = std::make_shared<Net>();
  net->body->push_back(torch::nn::BatchNorm1d(4));
  net->body->push_back(torch::nn::Dropout(0.5));
  net->register_module("calm", torch::nn::InstanceNorm1d(4));  // of each image alone
  try {
    as_model(net);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("body.2"));
    EXPECT_THAT(error.what(), HasSubstr("lockstep::BatchNorm"));
    EXPECT_THAT(error.what(), HasSubstr("body.3"));
    EXPECT_THAT(error.what(), testing::Not(HasSubstr("calm")));
  }
  EXPECT_NE(as_model(net, {.allow_rank_dependent = true}), nullptr);
}

TEST(OwnModel, AnInitialiserOfItsOwnDrawsFromTheSeed) {
  const auto weights = [](uint64_t torch_seed) {
    torch::manual_seed(torch_seed);
    const auto net = std::make_shared<Net>();
    as_model(net, {.initialise = [&](InitialValues& values) {
               values.module(*net->body, "body");
               values.module(*net->head, "head");
             }});
    return net->head->weight.detach().clone();
  };
  EXPECT_TRUE(at::equal(weights(1), weights(2)));
}

TEST(Watchdog, LeavesTheEndToAHostProgramThatAsksForIt) {
  Watchdog watchdog(std::chrono::milliseconds(50));
  std::promise<std::string> told;
  watchdog.set_on_expiry([&](const std::string& message) { told.set_value(message); });
  const auto guard = watchdog.watch("waiting for nobody");
  auto message = told.get_future();
  ASSERT_EQ(message.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_THAT(message.get(), HasSubstr("waiting for nobody"));
}

}  // namespace
}  // namespace lockstep
