// One rank's model, optimizer and step over in-process or MPI channels, for tests of training as a
// whole.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/training/flat_parameters.h"
#include "lockstep/core/training/frozen_parameters.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/data/loading/batch_cut.h"
#include "lockstep/data/loading/sampler.h"
#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/run_options.h"
#include "lockstep/distributed/run/state_parts.h"
#include "lockstep/distributed/setup/norm_groups.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/distributed/training/classification_loss.h"
#include "lockstep/distributed/training/statistics_exchange.h"
#include "lockstep/distributed/training/training_step.h"

namespace lockstep::test {

// A global batch with a signal in it: class k is brighter in a band of rows.
inline Batch global_batch(int64_t size, int64_t number) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(1000 + number));
  Batch batch;
  batch.labels = torch::randint(0, 10, {size}, generator, torch::kLong);
  batch.images = torch::randn({size, 3, 32, 32}, generator);
  for (int64_t i = 0; i < size; ++i) {
    batch.images[i].narrow(1, 3 * batch.labels[i].item<int64_t>(), 3).add_(1.0);
  }
  batch.global_size = size;
  return batch;
}

inline Batch slice_of(
    const Batch& global, int rank, int world_size, at::ScalarType dtype, const BatchCut& cut) {
  const IndexRange range = slice_of_batch(global.global_size, cut, rank, world_size);
  Batch batch;
  batch.images = global.images.narrow(0, range.begin, range.size())
                     .to(dtype)
                     .contiguous(at::MemoryFormat::ChannelsLast);
  batch.labels = global.labels.narrow(0, range.begin, range.size()).contiguous();
  batch.global_size = global.global_size;
  batch.first_position = range.begin;
  return batch;
}

// 64 images in memory, of a GPU too, 10 classes, class k brighter in a band of rows.
class SignalSource final : public ImageSource {
 public:
  explicit SignalSource(at::Device device = at::kCPU) {
    info.num_images = {64, 0};
    info.channels = 3;
    info.height = info.width = 32;
    info.class_names.resize(10);
    info.mean = {0.5f, 0.5f, 0.5f};
    info.std = {0.25f, 0.25f, 0.25f};
    auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
    images_ = torch::randint(0, 156, {64, 3, 32, 32}, generator, torch::kByte);
    for (int32_t i = 0; i < 64; ++i) {
      labels.push_back(i * 7 % 10);
      images_[i].narrow(1, 3 * labels.back(), 3).add_(100);
    }
    if (device.is_cuda()) device_images_ = images_.to(device);
  }
  at::Tensor device_images(Split) const override { return device_images_; }
  void gather(Split, std::span<const int64_t> indices, uint8_t* out) override {
    for (const int64_t index : indices) {
      out = std::copy_n(images_[index].const_data_ptr<uint8_t>(), info.image_bytes(), out);
    }
  }

  ImageSetInfo info;
  std::vector<int32_t> labels;

 private:
  at::Tensor images_, device_images_;
};

// A rank's slice of a batch of these images, drawn, augmented and mixed as in a run.
inline Batch prepared_slice(
    const Config& config, int64_t batch, int rank, int world_size, at::Device device = at::kCPU) {
  SignalSource source(device);
  std::vector<int64_t> all(64);
  std::iota(all.begin(), all.end(), int64_t{0});
  const EpochSampler sampler(all,
                             config.batch_size,
                             static_cast<uint64_t>(config.seed),
                             0,
                             batch_cut(config, /*has_norms=*/true));
  const IndexRange slice = sampler.slice(batch, rank, world_size);
  LoaderOptions options;
  options.format.device = device;
  options.format.dtype = compute_dtype(config.precision);
  options.format.channels_last = true;
  options.augmentation = config.data.augmentation;
  options.seed = static_cast<uint64_t>(config.seed);
  return prepare_batch(source,
                       source.info,
                       source.labels,
                       options,
                       {.indices = sampler.indices(batch, slice),
                        .global_size = sampler.batch_size(batch),
                        .first_position = slice.begin,
                        .batch = batch,
                        .index_before = sampler.index_before(batch, slice.begin)});
}

struct TrainingState {
  NamedTensors weights, optimizer;
};

class TrainingRank {
 public:
  // statistics: what synchronised batch norm sums over; may be null without it.
  TrainingRank(const Config& config,
               Communicator& gradients,
               Communicator* statistics,
               at::Device device = at::kCPU,
               double average_decay = 0,
               bool graphs = false)
      : config_(config),
        model_(model_on(device, config)),
        device_(device),
        parameters_(*model_,
                    {.bf16 = config.precision == Precision::kBf16,
                     .channels_last = true,
                     .decay_norms_and_biases = config.optimizer.decay_norms_and_biases,
                     .bucket_bytes = config.distributed.bucket_bytes}),
        optimizer_(make_optimizer(config.optimizer, parameters_)),
        average_(average_decay > 0
                     ? std::make_unique<WeightAverage>(*model_, parameters_, average_decay)
                     : nullptr),
        exchange_(config.distributed.batch_norm == BatchNormMode::kSync
                      ? make_statistics_exchange(*statistics)
                      : nullptr),
        step_({.model = *model_,
               .parameters = parameters_,
               .optimizer = *optimizer_,
               .communicator = gradients,
               .exchange = exchange_.get(),
               .average = average_.get()},
              classification_loss(*model_, config.optimizer.label_smoothing),
              options_for(config, *model_, graphs)) {
    model_->train();
  }

  StepResult run(
      const Batch& global, int rank, int world_size, int64_t step, double learning_rate) {
    return step_.run(slice(global, rank, world_size), step, learning_rate);
  }
  // A rank's, as this trainer takes it.
  Batch slice(const Batch& global, int rank, int world_size) const {
    const at::ScalarType dtype = compute_dtype(config_.precision);
    const BatchCut cut = batch_cut(config_, has_learning_norms(*model_));
    Batch batch = slice_of(global, rank, world_size, dtype, cut);
    batch.images = batch.images.to(device_);
    batch.labels = batch.labels.to(device_);
    return batch;
  }
  StepResult run_slice(const Batch& slice, int64_t step, double learning_rate) {
    return step_.run(slice, step, learning_rate);
  }
  TrainingStep& step() { return step_; }

  NamedTensors averaged_weights() {
    NamedTensors found;
    with_average(average_.get(), [&] { found = export_weights(*model_, parameters_); });
    return found;
  }
  TrainingState state() {
    return {export_weights(*model_, parameters_), export_optimizer(*optimizer_, parameters_)};
  }
  void restore(const TrainingState& state) {
    import_weights(*model_, parameters_, state.weights, "the test's state");
    restore_optimizer(*optimizer_, parameters_, state.optimizer);
  }
  // All that is the same on every rank, as memory that later updates change.
  std::vector<StatePart> replicated() {
    return replicated_state(*model_, parameters_, *optimizer_, average_.get());
  }
  // The reduced gradient by parameter, divided by the global batch (the fused update has written it
  // back divided).
  NamedTensors gradients() {
    NamedTensors found;
    for (const FlatEntry& entry : parameters_.entries())
      found.emplace_back(entry.name, entry.gradient.detach().clone());
    return found;
  }

 private:
  static TrainingStepOptions options_for(const Config& config,
                                         const ImageClassifier& model,
                                         bool graphs) {
    TrainingStepOptions options = make_training_step_options(config, model);
    options.graphs = graphs;
    return options;
  }
  static std::shared_ptr<ImageClassifier> model_on(at::Device device, const Config& config) {
    auto model = make_model(config.model.name,
                            model_options(config.model, 10, 3, 32),
                            static_cast<uint64_t>(config.seed));
    model->to(device);
    if (!config.model.freeze.empty()) freeze_parameters(*model, config.model.freeze);
    return model;
  }

  Config config_;
  std::shared_ptr<ImageClassifier> model_;
  at::Device device_;
  FlatParameters parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;
  std::unique_ptr<StatisticsExchange> exchange_;
  TrainingStep step_;
};

// |a - b| over |b|, of the whole tensor.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const double norm = b.to(at::kDouble).norm().item<double>();
  const double difference = (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
  return norm > 0 ? difference / norm : difference;
}

inline void expect_close(const NamedTensors& a,
                         const NamedTensors& b,
                         double tolerance,
                         const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_LT(relative_difference(a[i].second, b[i].second), tolerance)
        << what << ": " << a[i].first;
  }
}

}  // namespace lockstep::test
