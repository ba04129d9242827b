// Batches made on a GPU are the CPU's to the bit, wherever the images are kept.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <random>

#include "lockstep/core/base/error.h"
#include "lockstep/data/loading/batch_loader.h"

namespace lockstep {
namespace {

constexpr int64_t kNumTrain = 40, kNumTest = 7;
const at::Device kGpu(at::kCUDA, 0);

struct Images {
  Images() {
    info.num_images = {kNumTrain, kNumTest};
    info.channels = 3;
    info.height = 12;
    info.width = 10;
    info.mean = {0.4914f, 0.4822f, 0.4465f};
    info.std = {0.2470f, 0.2435f, 0.2616f};
    memory.resize(static_cast<size_t>(resident_bytes(info)));
    std::mt19937 random(3);
    for (uint8_t& byte : memory) byte = static_cast<uint8_t>(random());
    for (int32_t i = 0; i < kNumTrain; ++i) labels.push_back(i * 7 % 10);
  }
  ImageSetInfo info;
  std::vector<uint8_t> memory;
  std::vector<int32_t> labels;
};

class GpuBatches : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU";
    on_host_ = make_resident_source(images_.info, images_.memory);
    on_device_ = make_device_source(images_.info, images_.memory, kGpu);
    options_.epoch = 3;
  }

  Batch batch_of(ImageSource& source, const BatchRequest& request, at::Device device) {
    options_.format.device = device;
    const auto count = static_cast<size_t>(images_.info.count(options_.split));
    return prepare_batch(
        source, images_.info, std::span(images_.labels).first(count), options_, request);
  }

  static void expect_same(const Batch& batch, const Batch& expected) {
    EXPECT_TRUE(batch.images.is_cuda());
    EXPECT_EQ(batch.images.scalar_type(), expected.images.scalar_type());
    EXPECT_EQ(batch.images.strides(), expected.images.strides());
    EXPECT_TRUE(at::equal(batch.images.cpu(), expected.images));
    EXPECT_TRUE(at::equal(batch.labels.cpu(), expected.labels));
    EXPECT_EQ(batch.global_size, expected.global_size);
    EXPECT_EQ(batch.first_position, expected.first_position);
    ASSERT_EQ(batch.second_labels.defined(), expected.second_labels.defined());
    if (!batch.second_labels.defined()) return;
    EXPECT_TRUE(at::equal(batch.second_labels.cpu(), expected.second_labels));
    EXPECT_TRUE(at::equal(batch.mixing_weights.cpu(), expected.mixing_weights));
  }

  void expect_the_cpus(const BatchRequest& request) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool channels_last : {false, true}) {
        options_.format.dtype = dtype;
        options_.format.channels_last = channels_last;
        const Batch expected = batch_of(*on_host_, request, at::kCPU);
        expect_same(batch_of(*on_host_, request, kGpu), expected);
        expect_same(batch_of(*on_device_, request, kGpu), expected);
      }
    }
  }

  Images images_;
  std::unique_ptr<ImageSource> on_host_, on_device_;
  LoaderOptions options_;
};

const BatchRequest kRequest{.indices = {7, 39, 0, 7, 21},
                            .global_size = 9,
                            .first_position = 2,
                            .batch = 4,
                            .index_before = 30};

TEST_F(GpuBatches, OfPlainImagesAreTheCpus) { expect_the_cpus(kRequest); }

TEST_F(GpuBatches, OfTheOtherSplitAreTheCpus) {
  options_.split = Split::kTest;
  expect_the_cpus({.indices = {6, 0, 3}, .global_size = 3});
}

TEST_F(GpuBatches, OfAugmentedImagesAreTheCpus) {
  options_.augmentation =
      AugmentationConfig{.pad_crop = 3, .flip = true, .cutout = 4, .random_erasing = 0.5};
  for (options_.epoch = 0; options_.epoch < 8; ++options_.epoch) expect_the_cpus(kRequest);
}

TEST_F(GpuBatches, OfReflectedImagesFlippedInTurnAreTheCpus) {
  options_.augmentation = AugmentationConfig{
      .pad_crop = 5, .padding_mode = PaddingMode::kReflect, .flip = true, .alternating_flip = true};
  for (options_.epoch = 0; options_.epoch < 8; ++options_.epoch) expect_the_cpus(kRequest);
}

TEST_F(GpuBatches, OfMixedImagesAreTheCpus) {
  options_.augmentation = AugmentationConfig{.mixup = 0.8, .cutmix = 1.0};
  for (options_.epoch = 0; options_.epoch < 8; ++options_.epoch) expect_the_cpus(kRequest);
}

TEST_F(GpuBatches, OfNoImagesAreEmpty) {
  const BatchRequest none{.indices = {}, .global_size = 2, .first_position = 2};
  expect_the_cpus(none);
  options_.augmentation = AugmentationConfig{.mixup = 0.8};
  expect_the_cpus(none);
}

TEST_F(GpuBatches, AreDeliveredInOrderByALoader) {
  options_.augmentation = AugmentationConfig{};
  const auto request = [](int64_t batch) {
    return BatchRequest{.indices = {batch, batch + 1, 3 * batch}, .global_size = 3, .batch = batch};
  };
  for (ImageSource* source : {on_host_.get(), on_device_.get()}) {
    options_.format.device = kGpu;
    BatchLoader loader(*source, images_.info, images_.labels, options_, 13, request);
    std::vector<Batch> kept;  // a batch stays what it was while later ones are made
    for (int64_t i = 0; i < 13; ++i) kept.push_back(loader.next());
    for (int64_t i = 0; i < 13; ++i)
      expect_same(kept[static_cast<size_t>(i)], batch_of(*on_host_, request(i), at::kCPU));
  }
}

TEST_F(GpuBatches, RefuseAnImageBeyondTheLabels) {
  const BatchRequest beyond{.indices = {kNumTrain}, .global_size = 1};
  EXPECT_THROW(batch_of(*on_device_, beyond, kGpu), Error);
}

TEST_F(GpuBatches, ImagesOfADeviceComeBackToTheHost) {
  const std::vector<int64_t> indices{5, 0, 39, 5};
  const size_t bytes = indices.size() * static_cast<size_t>(images_.info.image_bytes());
  std::vector<uint8_t> found(bytes), expected(bytes);
  on_device_->gather(Split::kTrain, indices, found.data());
  on_host_->gather(Split::kTrain, indices, expected.data());
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace lockstep
