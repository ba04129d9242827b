// Whole runs in one process: a tiny image set, a small model, ranks as threads.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/train_validation_split.h"
#include "lockstep/distributed/run/trainer.h"
#include "tests/distributed/comm/in_process_fixture.h"

namespace lockstep::test {

constexpr int64_t kTrainImages = 30, kValidationImages = 11, kTestImages = 13, kClasses = 3;

// 8x8 images in memory; class k is brighter in a band of rows.
class SmallImages final : public ImageSource {
 public:
  SmallImages() {
    info.num_images = {kTrainImages + kValidationImages, kTestImages};
    info.channels = 3;
    info.height = info.width = 8;
    info.class_names = {"top", "middle", "bottom"};
    info.mean = {0.5f, 0.5f, 0.5f};
    info.std = {0.25f, 0.25f, 0.25f};
    info.digest = "small";
    auto generator = at::make_generator<at::CPUGeneratorImpl>(uint64_t{7});
    for (size_t s = 0; s < 2; ++s) {
      const int64_t count = info.num_images[s];
      images_[s] = torch::randint(0, 156, {count, 3, 8, 8}, generator, torch::kByte);
      for (int32_t i = 0; i < count; ++i) {
        labels[s].push_back(i * 2 % static_cast<int32_t>(kClasses));
        images_[s][i].narrow(1, 2 * labels[s].back(), 2).add_(100);
      }
    }
  }
  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    const at::Tensor& images = images_[static_cast<size_t>(split)];
    for (const int64_t index : indices)
      out = std::copy_n(images[index].const_data_ptr<uint8_t>(), info.image_bytes(), out);
  }

  TrainingData data() {
    TrainingData data;
    data.info = info;
    data.train_labels = labels[0];
    data.test_labels = labels[1];
    data.split.train.resize(kTrainImages);
    std::iota(data.split.train.begin(), data.split.train.end(), int64_t{0});
    data.split.validation.resize(kValidationImages);
    std::iota(data.split.validation.begin(), data.split.validation.end(), kTrainImages);
    data.source = this;
    return data;
  }

  ImageSetInfo info;
  std::vector<int32_t> labels[2];

 private:
  at::Tensor images_[2];
};

// Three updates an epoch, of 12, 12 and 6 images, the same on any number of ranks up to rounding.
inline Config small_config() {
  Config config;
  config.batch_size = 12;
  config.epochs = 2;
  config.optimizer.learning_rate = 0.01;
  config.distributed.batch_norm = BatchNormMode::kSync;
  config.validation.batch_size = 4;
  return config;
}

struct Recorder final : TrainingObserver {
  void on_start(const StartReport& report) override { starts.push_back(report); }
  void on_step(const StepReport& report) override { steps.push_back(report); }
  void on_epoch(const EpochReport& report) override { epochs.push_back(report); }
  void on_test(const TestReport& report) override { tests.push_back(report); }
  void on_end(const EndReport& report) override { ends.push_back(report); }

  std::vector<StartReport> starts;
  std::vector<StepReport> steps;
  std::vector<EpochReport> epochs;
  std::vector<TestReport> tests;
  std::vector<EndReport> ends;
};

struct SmallRun {
  std::vector<EndReport> ends;  // by rank
  Recorder told;                // on rank 0
};

// How a rank's options are completed.
using Complete = std::function<void(int rank, TrainerOptions&)>;
using Body = std::function<void(int rank, Trainer&)>;

// Makes a trainer on each of `world_size` ranks and gives it to `body`. `others` are told too.
inline Recorder with_trainers(int world_size,
                              const Config& config,
                              const Complete& complete,
                              const Body& body,
                              const std::vector<TrainingObserver*>& others = {}) {
  Recorder told;
  run_sessions(world_size, [&](Session& session) {
    const int rank = session.topology().rank;
    SmallImages images;
    TrainerOptions options;
    if (complete) complete(rank, options);
    std::vector<TrainingObserver*> observers;
    if (rank == 0) {
      observers = others;
      observers.push_back(&told);
    }
    Trainer trainer = make_trainer(config,
                                   session,
                                   {at::kCPU, "in-process", "a thread"},
                                   images.data(),
                                   std::move(options),
                                   observers);
    body(rank, trainer);
  });
  return told;
}

inline SmallRun small_run(int world_size,
                          const Config& config,
                          const Complete& complete = {},
                          const std::vector<TrainingObserver*>& others = {}) {
  SmallRun run;
  run.ends.resize(static_cast<size_t>(world_size));
  const auto body = [&](int rank, Trainer& trainer) {
    run.ends[static_cast<size_t>(rank)] = trainer.run();
  };
  run.told = with_trainers(world_size, config, complete, body, others);
  return run;
}

}  // namespace lockstep::test
