#include "lockstep/core/nn/batch_norm_state.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/nn/batch_norm.h"
#include "tests/core/nn/batch_norm_reference.h"

namespace lockstep {
namespace {

struct TwoNorms : torch::nn::Module {
  TwoNorms() {
    first = register_module("first", std::make_shared<BatchNorm>(3));
    second = register_module("second", std::make_shared<BatchNorm>(5, 1e-5, 0.3));
  }
  std::shared_ptr<BatchNorm> first, second;
};

StepContext training() {
  StepContext context;
  context.training = true;
  return context;
}

at::Tensor attach_new(BatchNormState& state) {
  const at::Tensor storage = torch::zeros({state.contribution_size()});
  state.attach(storage);
  return storage;
}

TEST(BatchNormState, MovesRunningStatisticsAsPyTorchDoes) {
  torch::manual_seed(1);
  TwoNorms model;
  BatchNormState state(model);
  const at::Tensor storage = attach_new(state);
  torch::nn::BatchNorm2d first(3), second(torch::nn::BatchNormOptions(5).momentum(0.3));
  for (int step = 0; step < 3; ++step) {
    const at::Tensor x = torch::randn({4, 3, 2, 2}) + step, z = torch::randn({4, 5, 3, 3}) * 2;
    storage.zero_();
    model.first->forward(x, training());
    model.second->forward(z, training());
    first->forward(x);
    second->forward(z);
    state.update();
  }
  EXPECT_LT(difference(model.first->running_mean, first->running_mean), 1e-6);
  EXPECT_LT(difference(model.first->running_var, first->running_var), 1e-6);
  EXPECT_LT(difference(model.second->running_mean, second->running_mean), 1e-6);
  EXPECT_LT(difference(model.second->running_var, second->running_var), 1e-6);
  EXPECT_EQ(model.second->num_batches_tracked.item<int64_t>(), 3);
}

TEST(BatchNormState, NothingMovesBeforeTheUpdate) {
  TwoNorms model;
  BatchNormState state(model);
  attach_new(state);
  model.first->forward(torch::randn({4, 3, 2, 2}), training());
  EXPECT_TRUE(at::equal(model.first->running_mean, torch::zeros({3})));
  EXPECT_TRUE(at::equal(model.first->running_var, torch::ones({3})));
}

TEST(BatchNormState, WeighsSlicesByTheirImages) {
  torch::manual_seed(2);
  const at::Tensor small = torch::randn({3, 3, 4, 4}), large = torch::randn({5, 3, 4, 4}) + 1;
  const at::Tensor empty = torch::randn({0, 3, 4, 4});
  TwoNorms model;
  BatchNormState state(model);
  attach_new(state);
  for (const at::Tensor& slice : {small, empty, large}) model.first->forward(slice, training());
  state.update();
  const at::Tensor mean = (3 * small.mean({0, 2, 3}) + 5 * large.mean({0, 2, 3})) / 8;
  const at::Tensor variance = (3 * small.var({0, 2, 3}, true) + 5 * large.var({0, 2, 3}, true)) / 8;
  EXPECT_LT(difference(model.first->running_mean, 0.1 * mean), 1e-6);
  EXPECT_LT(difference(model.first->running_var, 0.9 + 0.1 * variance), 1e-6);
}

TEST(BatchNormState, SumsOfRanksMoveEveryRankAlike) {
  torch::manual_seed(3);
  const std::vector<at::Tensor> slices = {torch::randn({2, 3, 4, 4}),
                                          torch::randn({6, 3, 4, 4}) * 3};
  std::vector<std::unique_ptr<TwoNorms>> models;
  std::vector<std::unique_ptr<BatchNormState>> states;
  std::vector<at::Tensor> storages;
  for (const at::Tensor& slice : slices) {
    models.push_back(std::make_unique<TwoNorms>());
    states.push_back(std::make_unique<BatchNormState>(*models.back()));
    storages.push_back(attach_new(*states.back()));
    models.back()->first->forward(slice, training());
  }
  const at::Tensor sum = storages[0] + storages[1];
  for (size_t rank = 0; rank < slices.size(); ++rank) {
    storages[rank].copy_(sum);
    states[rank]->update();
  }
  const at::Tensor mean = (2 * slices[0].mean({0, 2, 3}) + 6 * slices[1].mean({0, 2, 3})) / 8;
  EXPECT_LT(difference(models[0]->first->running_mean, 0.1 * mean), 1e-6);
  EXPECT_TRUE(at::equal(models[0]->first->running_mean, models[1]->first->running_mean));
  EXPECT_TRUE(at::equal(models[0]->first->running_var, models[1]->first->running_var));
}

TEST(BatchNormState, ALayerWithoutContributionKeepsItsValues) {
  TwoNorms model;
  model.second->running_mean.fill_(7);
  model.second->running_var.fill_(2);
  BatchNormState state(model);
  attach_new(state);
  model.first->forward(torch::randn({4, 3, 2, 2}), training());
  state.update();
  EXPECT_TRUE(at::equal(model.second->running_mean, torch::full({5}, 7.0)));
  EXPECT_TRUE(at::equal(model.second->running_var, torch::full({5}, 2.0)));
}

TEST(BatchNormState, OneValuePerChannelMovesTheMeanOnly) {
  TwoNorms model;
  BatchNormState state(model);
  attach_new(state);
  model.first->forward(torch::full({1, 3, 1, 1}, 2.0), training());
  state.update();
  EXPECT_TRUE(at::allclose(model.first->running_mean, torch::full({3}, 0.2)));
  EXPECT_TRUE(at::equal(model.first->running_var, torch::ones({3})));
}

TEST(BatchNormState, TheModulesOwnBuffersAreTheFlatOnes) {
  TwoNorms model;
  model.first->running_mean.fill_(3);  // values from before survive
  BatchNormState state(model);
  const auto buffers = model.named_buffers();
  EXPECT_EQ(buffers.size(), 6u);
  EXPECT_TRUE(at::equal(buffers["first.running_mean"], torch::full({3}, 3.0)));
  const auto* mean = buffers["first.running_mean"].const_data_ptr<float>();
  EXPECT_EQ(buffers["second.running_mean"].const_data_ptr<float>(), mean + 3);
  EXPECT_EQ(state.contribution_size(), 2 * (3 + 5) + 2 * 2);
}

TEST(BatchNormState, AModelWithoutNormsNeedsNothing) {
  torch::nn::Linear model(3, 4);
  BatchNormState state(*model);
  EXPECT_EQ(state.contribution_size(), 0);
  state.attach(torch::zeros({0}));
  state.update();
}

}  // namespace
}  // namespace lockstep
