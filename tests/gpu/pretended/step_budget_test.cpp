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

// Of a steady step of ResNet-20 on a batch that lies on the device already: one is queued, the one
// before collected.
Counts counts_of_a_step(Precision precision, bool graphs) {
  Counts counts;
  run_in_process(1, [&](InProcessRank& alone) {
    Config config;
    config.precision = precision;
    const at::Device gpu(at::kCUDA, 0);
    const auto gradients = alone.session.make_communicator("nccl", gpu);
    TrainingRank training(config, *gradients, nullptr, gpu, /*average_decay=*/0, graphs);
    Batch batch = slice_of(global_batch(8, 0), 0, 1, true, compute_dtype(precision));
    batch.images = batch.images.to(gpu);
    batch.labels = batch.labels.to(gpu);
    TrainingStep& steps = training.step();
    steps.enqueue(batch, 0, 0.01);
    for (int64_t step = 1; step < 4; ++step) {
      pretended::reset_counts();
      steps.enqueue(batch, step, 0.01);
      steps.collect();
      counts = pretended::counts();
    }
    steps.collect();
  });
  return counts;
}

std::string table(const Counts& counts) {
  std::string text;
  for (const auto& [name, count] : counts.by_name) text += fmt::format("{:5} {}\n", count, name);
  return text;
}

TEST(StepBudget, OfResNet20) {
  const Counts counts = counts_of_a_step(Precision::kBf16, /*graphs=*/false);
  RecordProperty("operations", std::to_string(counts.operations));
  EXPECT_LE(counts.operations, 195) << table(counts);
  EXPECT_EQ(counts.synchronisations, 0) << table(counts);
  EXPECT_LE(counts.bytes_to_host, 24) << table(counts);
  EXPECT_LE(counts.bytes_to_device, 20) << table(counts);
}

// Besides the graph: the batch to where it reads it, and the host's numbers both ways.
TEST(StepBudget, OfResNet20AsAGraph) {
  const Counts counts = counts_of_a_step(Precision::kBf16, /*graphs=*/true);
  EXPECT_EQ(counts.by_name.at("graph"), 1) << table(counts);
  EXPECT_LE(counts.operations, 5) << table(counts);
  EXPECT_EQ(counts.synchronisations, 0) << table(counts);
  EXPECT_LE(counts.bytes_to_host, 24) << table(counts);
  EXPECT_LE(counts.bytes_to_device, 20) << table(counts);
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
