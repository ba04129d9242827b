// How much a training step asks of the device and of the host: budgets that a change must not
// break.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/training/training_fixture.h"
#include "tests/gpu/pretended/counts.h"

namespace lockstep::test {
namespace {

using pretended::Counts;

// Of the third step of ResNet-20 on a batch that lies on the device already.
Counts counts_of_a_step(Precision precision) {
  Counts counts;
  run_in_process(1, [&](InProcessRank& alone) {
    Config config;
    config.precision = precision;
    const at::Device gpu(at::kCUDA, 0);
    const auto gradients = alone.session.make_communicator("nccl", gpu);
    TrainingRank training(config, *gradients, nullptr, gpu);
    Batch batch = slice_of(global_batch(8, 0), 0, 1, true, compute_dtype(precision));
    batch.images = batch.images.to(gpu);
    batch.labels = batch.labels.to(gpu);
    for (int64_t step = 0; step < 3; ++step) {
      pretended::reset_counts();
      training.run_slice(batch, step, 0.01);
      counts = pretended::counts();
    }
  });
  return counts;
}

std::string table(const Counts& counts) {
  std::string text;
  for (const auto& [name, count] : counts.by_name) text += fmt::format("{:5} {}\n", count, name);
  return text;
}

TEST(StepBudget, OfResNet20) {
  const Counts counts = counts_of_a_step(Precision::kBf16);
  RecordProperty("operations", std::to_string(counts.operations));
  EXPECT_LE(counts.operations, 190) << table(counts);
  // The copy that reads the step's sums waits for the stream, by itself and once more by LibTorch.
  EXPECT_LE(counts.synchronisations, 2) << table(counts);
  EXPECT_LE(counts.bytes_to_host, 64) << table(counts);
}

// Copies to the host wait for the device: one for each dtype, not one for each of 120 tensors.
TEST(StepBudget, OfWeightsForACheckpoint) {
  const auto model = make_model("resnet20", {}, 1);
  model->to(at::Device(at::kCUDA, 0));
  FlatParameters parameters(*model, {});
  pretended::reset_counts();
  const NamedTensors weights = export_weights(*model, parameters);
  const Counts counts = pretended::counts();
  EXPECT_EQ(counts.by_name.at("copy from device to pageable memory"), 2) << table(counts);
  EXPECT_GT(weights.size(), 100u);
}

}  // namespace
}  // namespace lockstep::test
