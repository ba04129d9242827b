// How much a training step asks of the device and of the host: budgets that a change must not
// break.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lockstep/core/kernels/image_placement.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/data/loading/batch_preparer.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/training/training_fixture.h"
#include "tests/gpu/pretended/counts.h"

namespace lockstep::test {
namespace {

using pretended::Counts;

constexpr int64_t kImages = 8;
// Five numbers of an update, and what is drawn for the images.
constexpr int64_t kBytesToDevice = 20 + 64 + kImages * sizeof(ImagePlacement);

// Of a steady step of ResNet-20, its images on the device: a batch of them is made and queued, the
// one before collected.
Counts counts_of_a_step(Precision precision, bool graphs) {
  Counts counts;
  run_in_process(1, [&](InProcessRank& alone) {
    Config config;
    config.precision = precision;
    const at::Device gpu(at::kCUDA, 0);
    const auto gradients = alone.session.make_communicator("nccl", gpu);
    TrainingRank training(config, *gradients, nullptr, gpu, /*average_decay=*/0, graphs);
    SignalSource source(gpu);
    LoaderOptions options;
    options.format = {.device = gpu, .dtype = compute_dtype(precision), .channels_last = true};
    options.augmentation = config.data.augmentation;
    const auto preparer = make_batch_preparer({source, source.info, source.labels, options});
    const auto batch = [&](int64_t step) {
      return preparer->prepare(
          {.indices = {step, 9, 3, 60, 2, 5, 6, 11}, .global_size = kImages, .batch = step})();
    };
    TrainingStep& steps = training.step();
    steps.enqueue(batch(0), 0, 0.01);
    for (int64_t step = 1; step < 4; ++step) {
      pretended::reset_counts();
      steps.enqueue(batch(step), step, 0.01);
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
  EXPECT_LE(counts.operations, 165) << table(counts);
  EXPECT_EQ(counts.synchronisations, 0) << table(counts);
  EXPECT_LE(counts.bytes_to_host, 24) << table(counts);
  EXPECT_LE(counts.bytes_to_device, kBytesToDevice) << table(counts);
}

// Besides the graph: the batch's draws, the batch, its way to where the graph reads it, and the
// host's numbers both ways.
TEST(StepBudget, OfResNet20AsAGraph) {
  const Counts counts = counts_of_a_step(Precision::kBf16, /*graphs=*/true);
  EXPECT_EQ(counts.by_name.at("graph"), 1) << table(counts);
  EXPECT_LE(counts.operations, 7) << table(counts);
  EXPECT_EQ(counts.synchronisations, 0) << table(counts);
  EXPECT_LE(counts.bytes_to_host, 24) << table(counts);
  EXPECT_LE(counts.bytes_to_device, kBytesToDevice) << table(counts);
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
