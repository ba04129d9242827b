// N ranks equal 1 rank also with everything on that draws random numbers in training.
#include <gtest/gtest.h>

#include <map>

#include "lockstep/data/loading/mixing.h"
#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/training/training_fixture.h"

namespace lockstep::test {
namespace {

Config regularised(const std::string& model, int64_t batch_size) {
  Config config;
  config.seed = 3;
  config.batch_size = batch_size;
  config.model.name = model;
  config.optimizer.label_smoothing = 0.1;
  config.data.augmentation.random_erasing = 0.5;
  config.data.augmentation.mixup = 0.4;
  config.data.augmentation.cutmix = 1.0;
  config.distributed.batch_norm = BatchNormMode::kSync;
  config.distributed.bucket_bytes = 1 << 20;
  if (model.starts_with("resnet")) config.model.stochastic_depth = 0.5;
  return config;
}

struct Outcome {
  StepResult step;
  NamedTensors gradients, weights;
};

// One update from `state` (null: the initial weights) by one batch of the first epoch.
Outcome one_step(const Config& config, const TrainingState* state, int world_size, int64_t batch) {
  Outcome outcome;
  run_in_process(world_size, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    TrainingRank training(config, *rank.gradients, rank.statistics.get());
    if (state) training.restore(*state);
    const Batch slice = prepared_slice(config, batch, rank.rank, world_size);
    const StepResult step = training.run_slice(slice, 10 + batch, 0.05);
    if (rank.rank == 0) outcome = {step, training.gradients(), training.state().weights};
  });
  return outcome;
}

TrainingState after_steps(const Config& config, int64_t steps) {
  TrainingState state;
  run_in_process(1, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    TrainingRank training(config, *rank.gradients, rank.statistics.get());
    for (int64_t step = 0; step < steps; ++step)
      training.run_slice(prepared_slice(config, step, 0, 1), step, 0.02);
    state = training.state();
  });
  return state;
}

void expect_same_step(const Outcome& a, const Outcome& b, double tolerance, const std::string& at) {
  EXPECT_NEAR(a.step.loss_sum / b.step.loss_sum, 1.0, 1e-5) << at;
  EXPECT_EQ(a.step.images, b.step.images);
  EXPECT_EQ(a.step.correct, b.step.correct) << at;
  expect_close(a.gradients, b.gradients, tolerance, at + ", gradient");
  expect_close(a.weights, b.weights, tolerance, at + ", weights");
}

// Mixup or CutMix (each batch draws one of them), random erasing, stochastic depth.
TEST(RegularisedTraining, OneStepOfAResnetFromSavedStatesEqualsOneRank) {
  const Config config = regularised("resnet20", 16);
  int64_t num_cutmix = 0;
  for (const int64_t steps : {0, 2}) {
    const TrainingState state = after_steps(config, steps);
    for (int64_t batch = 0; batch < 4; ++batch) {
      num_cutmix += draw_mixing(config.data.augmentation, {}, 3, 0, batch).cutmix;
      const Outcome alone = one_step(config, &state, 1, batch);
      for (const int world_size : {2, 4}) {
        expect_same_step(
            one_step(config, &state, world_size, batch),
            alone,
            1e-5,
            "batch " + std::to_string(batch) + " at " + std::to_string(world_size) + " ranks");
      }
    }
  }
  EXPECT_GT(num_cutmix, 0);
  EXPECT_LT(num_cutmix, 8);
}

// Dropout before the classifier and in two auxiliary heads.
TEST(RegularisedTraining, OneStepOfGoogLeNetWithDropoutEqualsOneRank) {
  const Config config = regularised("googlenet_bn", 8);
  const TrainingState state = after_steps(config, 1);
  const Outcome alone = one_step(config, &state, 1, 2);
  for (const int world_size : {2, 4}) {
    expect_same_step(one_step(config, &state, world_size, 2),
                     alone,
                     1e-5,
                     std::to_string(world_size) + " ranks");
  }
}

TEST(RegularisedTraining, UnevenAndEmptySlicesChangeNothing) {
  const Config config = regularised("resnet20", 5);
  const TrainingState state = after_steps(config, 1);
  const Outcome alone = one_step(config, &state, 1, 3);
  for (const int world_size : {3, 7}) {
    expect_same_step(one_step(config, &state, world_size, 3),
                     alone,
                     1e-5,
                     std::to_string(world_size) + " ranks");
  }
}

// Without batch norm, whose statistics are a micro-slice's own.
TEST(RegularisedTraining, MicroSlicesChangeNothing) {
  Config config = regularised("googlenet", 10);
  config.distributed.batch_norm = BatchNormMode::kLocal;
  std::map<int64_t, Outcome> outcomes;
  for (const int64_t accumulation : {1, 3}) {
    config.distributed.accumulation_steps = accumulation;
    for (const int world_size : {1, 2}) {
      const Outcome outcome = one_step(config, nullptr, world_size, 0);
      if (outcomes.empty()) outcomes[0] = outcome;
      expect_same_step(outcome,
                       outcomes[0],
                       1e-5,
                       std::to_string(accumulation) + " micro-slices at " +
                           std::to_string(world_size) + " ranks");
    }
  }
}

TEST(RegularisedTraining, SwitchesChangeTheStep) {
  const Config config = regularised("resnet20", 8);
  const double loss = one_step(config, nullptr, 1, 0).step.loss_sum;
  Config plain = config;
  plain.data.augmentation.mixup = plain.data.augmentation.cutmix = 0;
  EXPECT_NE(one_step(plain, nullptr, 1, 0).step.loss_sum, loss);
  plain = config;
  plain.data.augmentation.random_erasing = 0;
  EXPECT_NE(one_step(plain, nullptr, 1, 0).step.loss_sum, loss);
  plain = config;
  plain.model.stochastic_depth = 0;
  EXPECT_NE(one_step(plain, nullptr, 1, 0).step.loss_sum, loss);
}

}  // namespace
}  // namespace lockstep::test
