// N ranks equal 1 rank at the same global batch.
#include <gtest/gtest.h>

#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/training/training_fixture.h"

namespace lockstep::test {
namespace {

constexpr int64_t kBatch = 48;

Config sync_config() {
  Config config;
  config.batch_size = kBatch;
  config.optimizer.learning_rate = 0.05;
  config.distributed.batch_norm = BatchNormMode::kSync;
  config.distributed.bucket_bytes = 256 << 10;  // several buckets
  return config;
}

Config group_config() {
  Config config = sync_config();
  config.distributed.batch_norm = BatchNormMode::kGroup;
  config.distributed.batch_norm_group = 6;  // eight groups
  return config;
}

struct Outcome {
  StepResult step;
  NamedTensors gradients, weights;
};

// One step from `state`.
Outcome one_step(const Config& config,
                 const TrainingState& state,
                 int world_size,
                 const Batch& batch) {
  Outcome outcome;
  run_in_process(world_size, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    TrainingRank training(config, *rank.gradients, rank.statistics.get());
    training.restore(state);
    const StepResult step = training.run(batch, rank.rank, world_size, 0, 0.05);
    if (rank.rank == 0) outcome = {step, training.gradients(), training.state().weights};
  });
  return outcome;
}

std::vector<TrainingState> saved_states(const Config& config,
                                        int64_t count,
                                        int64_t steps_between) {
  std::vector<TrainingState> states;
  run_in_process(1, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    TrainingRank training(config, *rank.gradients, rank.statistics.get());
    for (int64_t i = 0; i < count; ++i) {
      states.push_back(training.state());
      for (int64_t s = 0; s < steps_between; ++s)
        training.run(global_batch(kBatch, i * steps_between + s), 0, 1, s, 0.05);
    }
  });
  return states;
}

void expect_one_step_equals_one_ranks(const Config& config) {
  const auto states = saved_states(config, 5, 4);
  for (size_t i = 0; i < states.size(); ++i) {
    const Batch batch = global_batch(kBatch, 100 + static_cast<int64_t>(i));
    const Outcome alone = one_step(config, states[i], 1, batch);
    for (int world_size : {2, 4}) {
      const Outcome together = one_step(config, states[i], world_size, batch);
      EXPECT_NEAR(together.step.loss_sum / alone.step.loss_sum, 1.0, 1e-5);
      EXPECT_EQ(together.step.images, alone.step.images);
      const std::string what =
          "state " + std::to_string(i) + " at " + std::to_string(world_size) + " ranks";
      expect_close(together.gradients, alone.gradients, 1e-5, what + ", gradient");
      expect_close(together.weights, alone.weights, 1e-5, what + ", weights");
    }
  }
}

TEST(WorldEquality, OneStepFromSavedStatesEqualsOneRank) {
  expect_one_step_equals_one_ranks(sync_config());
}

TEST(WorldEquality, OneStepWithNormsOverGroupsEqualsOneRank) {
  expect_one_step_equals_one_ranks(group_config());
}

TEST(WorldEquality, NormsOverGroupsAreTheSumOfGroupsByThemselves) {
  Config config = group_config();
  const auto states = saved_states(config, 1, 2);
  const Batch whole = global_batch(kBatch, 9);
  const Outcome together = one_step(config, states[0], 1, whole);
  // Each group as a batch of its own, normalised whole; gradients are divided by its images.
  config.distributed.batch_norm = BatchNormMode::kLocal;
  NamedTensors sums;
  double loss = 0;
  for (int64_t group = 0; group < 8; ++group) {
    Batch batch = whole;
    batch.images = whole.images.narrow(0, 6 * group, 6);
    batch.labels = whole.labels.narrow(0, 6 * group, 6);
    batch.global_size = 6;
    const Outcome alone = one_step(config, states[0], 1, batch);
    loss += alone.step.loss_sum;
    for (size_t i = 0; i < alone.gradients.size(); ++i) {
      const auto& [name, gradient] = alone.gradients[i];
      if (group == 0) sums.emplace_back(name, torch::zeros_like(gradient));
      sums[i].second.add_(gradient / 8);
    }
  }
  EXPECT_NEAR(together.step.loss_sum / loss, 1.0, 1e-6);
  expect_close(together.gradients, sums, 1e-5, "gradient");
}

TEST(WorldEquality, MicroSlicesOfWholeGroupsChangeNothing) {
  Config config = group_config();
  const auto states = saved_states(config, 1, 2);
  const Outcome at_once = one_step(config, states[0], 1, global_batch(kBatch, 9));
  for (const int64_t steps : {3, 20}) {
    config.distributed.accumulation_steps = steps;
    const Outcome in_parts = one_step(config, states[0], 1, global_batch(kBatch, 9));
    EXPECT_NEAR(in_parts.step.loss_sum / at_once.step.loss_sum, 1.0, 1e-6);
    expect_close(in_parts.gradients, at_once.gradients, 1e-5, "gradient");
    expect_close(in_parts.weights, at_once.weights, 1e-5, "weights");
  }
}

// Rounding grows with the rate (facts of floating point, not of this program), so curves are
// compared at a tiny one.
TEST(WorldEquality, TwentyStepCurvesAgree) {
  const Config config = sync_config();
  std::map<int, std::vector<double>> curves;
  for (int world_size : {1, 2, 4}) {
    run_in_process(world_size, [&](InProcessRank& rank) {
      torch::set_num_threads(1);
      TrainingRank training(config, *rank.gradients, rank.statistics.get());
      for (int64_t step = 0; step < 20; ++step) {
        const StepResult result =
            training.run(global_batch(kBatch, step), rank.rank, world_size, step, 1e-4);
        if (rank.rank == 0)
          curves[world_size].push_back(result.loss_sum / static_cast<double>(result.images));
      }
    });
  }
  for (int world_size : {2, 4}) {
    for (size_t i = 0; i < 20; ++i)
      EXPECT_NEAR(curves[world_size][i] / curves[1][i], 1.0, 1e-5) << "step " << i;
  }
}

TEST(WorldEquality, FrozenPartsStayAsTheyAreAtAnyNumberOfRanks) {
  Config config = sync_config();
  const auto states = saved_states(config, 1, 3);
  config.model.freeze = "conv1,bn1,layer1";
  TrainingState state = states[0];
  for (auto& [name, tensor] : state.optimizer) {  // momentum of what is frozen would move it
    if (name.starts_with("momentum/conv1") || name.starts_with("momentum/layer1")) tensor.fill_(1);
  }
  const Outcome alone = one_step(config, state, 1, global_batch(kBatch, 50));
  for (int world_size : {1, 2, 4}) {
    const Outcome outcome = one_step(config, state, world_size, global_batch(kBatch, 50));
    expect_close(outcome.gradients, alone.gradients, 1e-5, "gradient");
    expect_close(outcome.weights, alone.weights, 1e-5, "weights");
    for (size_t i = 0; i < outcome.weights.size(); ++i) {
      const auto& [name, weight] = outcome.weights[i];
      const bool frozen =
          name.starts_with("conv1.") || name.starts_with("bn1.") || name.starts_with("layer1.");
      EXPECT_EQ(torch::equal(weight, state.weights[i].second), frozen) << name;
    }
  }
}

TEST(WorldEquality, UnevenAndEmptySlicesChangeNothing) {
  const Config config = sync_config();
  const auto states = saved_states(config, 1, 1);
  // 5 images over 7 ranks: two ranks have none.
  std::map<int, Outcome> outcomes;
  for (int world_size : {1, 3, 7}) {
    run_in_process(world_size, [&](InProcessRank& rank) {
      torch::set_num_threads(1);
      TrainingRank training(config, *rank.gradients, rank.statistics.get());
      training.restore(states[0]);
      const StepResult step = training.run(global_batch(5, 7), rank.rank, world_size, 0, 0.05);
      if (rank.rank == 0)
        outcomes[world_size] = {step, training.gradients(), training.state().weights};
    });
  }
  for (int world_size : {3, 7}) {
    EXPECT_EQ(outcomes[world_size].step.images, 5);
    EXPECT_EQ(outcomes[world_size].step.correct, outcomes[1].step.correct);
    expect_close(outcomes[world_size].weights,
                 outcomes[1].weights,
                 1e-5,
                 std::to_string(world_size) + " ranks");
  }
}

TEST(WorldEquality, AccumulationEqualsOneSlice) {
  Config config = sync_config();
  // Micro-slices normalise on their own, so the models compared are fixed statistics away: use one
  // image set twice.
  const auto states = saved_states(config, 1, 1);
  Batch half = global_batch(kBatch / 2, 3);
  Batch twice = half;
  twice.images = torch::cat({half.images, half.images});
  twice.labels = torch::cat({half.labels, half.labels});
  twice.global_size = kBatch;
  std::map<int64_t, Outcome> outcomes;
  for (int64_t accumulation : {1, 2}) {
    config.distributed.accumulation_steps = accumulation;
    run_in_process(1, [&](InProcessRank& rank) {
      torch::set_num_threads(1);
      TrainingRank training(config, *rank.gradients, rank.statistics.get());
      training.restore(states[0]);
      const StepResult step = training.run(twice, 0, 1, 0, 0.05);
      outcomes[accumulation] = {step, training.gradients(), training.state().weights};
    });
  }
  expect_close(outcomes[2].gradients, outcomes[1].gradients, 1e-4, "gradient");
  EXPECT_NEAR(outcomes[2].step.loss_sum / outcomes[1].step.loss_sum, 1.0, 1e-5);
}

// Local statistics: the running buffers are the count-weighted means over slices, equal on every
// rank at every step.
TEST(WorldEquality, LocalBatchNormKeepsRunningBuffersEqualOnAllRanks) {
  Config config = sync_config();
  config.distributed.batch_norm = BatchNormMode::kLocal;
  std::vector<NamedTensors> weights(3);
  run_in_process(3, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    TrainingRank training(config, *rank.gradients, nullptr);
    for (int64_t step = 0; step < 3; ++step)
      training.run(global_batch(20, step), rank.rank, 3, step, 0.05);
    weights[static_cast<size_t>(rank.rank)] = training.state().weights;
  });
  for (size_t i = 0; i < weights[0].size(); ++i) {
    for (size_t rank : {1, 2})
      EXPECT_TRUE(torch::equal(weights[0][i].second, weights[rank][i].second))
          << weights[0][i].first;
  }
}

TEST(TrainingStep, NotANumberSkipsTheUpdateOnEveryRank) {
  const Config config = sync_config();
  std::vector<int> finite(2, -1);
  std::vector<NamedTensors> before(2), after(2);
  run_in_process(2, [&](InProcessRank& rank) {
    torch::set_num_threads(1);
    Config local = config;
    local.distributed.batch_norm = BatchNormMode::kLocal;
    TrainingRank training(local, *rank.gradients, nullptr);
    const auto r = static_cast<size_t>(rank.rank);
    before[r] = training.state().weights;
    Batch batch = global_batch(8, 0);
    batch.images[0].fill_(std::numeric_limits<float>::quiet_NaN());  // in rank 0's slice only
    finite[r] = training.run(batch, rank.rank, 2, 0, 0.1).finite;
    after[r] = training.state().weights;
  });
  for (size_t r : {0, 1}) {
    EXPECT_EQ(finite[r], 0);
    for (size_t i = 0; i < before[r].size(); ++i)
      EXPECT_TRUE(torch::equal(before[r][i].second, after[r][i].second));
  }
}

}  // namespace
}  // namespace lockstep::test
